"""The manifests of deploy/k8s: rendered, validated, and held against settings and code."""
