"""What leaves Kedge: the adapter in others' formats, and the model card."""
