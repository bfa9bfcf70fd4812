"""What must hold of every reader of the package that reads what somebody else wrote, and a fuzzer that looks for what breaks it."""
