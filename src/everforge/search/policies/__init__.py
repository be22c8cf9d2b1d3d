"""Search policies: who decides what a model is asked next. Pure; everything follows from the recorded trials."""
