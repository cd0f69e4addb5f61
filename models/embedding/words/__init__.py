"""The model `words`: hashed TF-IDF of a text's words, brought to few dimensions by an SVD.

No neural network is in it. `models.embedding.making.fit_words` fits one on texts of the user's own.
The rest is here: `cutting` (from a text to words, and to their columns), `projection` (from columns
to a vector), `manifest` (what a folder of it is) and `embedder` (all together).
"""
