"""The faces: one file a program, the only place that reads argv, stdin and the clock."""
