"""The demo: the whole pipeline on the embedded stack, watched live, audited and summed up."""
