"""A fit's predictions as a TensorFlow SavedModel, for programs without this package."""
