"""OpenVINO in ONNX Runtime's place, on CPUs: `embedding.engine = openvino`."""
