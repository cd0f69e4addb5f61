"""Texts to unit vectors with a BERT encoder in ONNX Runtime.

`making` makes a model folder (`making.prepare` in a cache, `making.export` where it is wanted);
`engine` runs it, on a GPU by `gpu`. What both share lies beside: the manifest, how a checkpoint
wants its texts, batches, ONNX Runtime. To read on, follow a model's way: `making.weights` (where
they come from), `making.pretrained` and `text_settings` (what is in them), `making.bert_graph` (the
ONNX file; `making.optimum_export` for what is no BERT), `making.export` and `manifest` (the model
folder), `engine.embedder` (from texts to vectors) with `engine.text_cache` (texts seen lately),
`engine.tokenising` and `tokens` (which may be done elsewhere) and `engine.chunks` (long ones),
`engine.runners` (the cores and GPUs). For int8: `making.calibration`
and `making.bert_int8`; for GPUs: `making.bert_packed` and `making.gpu_files` (the graphs),
`batching`, `gpu.session` and `gpu.runner`. `making.verification` looks at all of it once more.
"""
