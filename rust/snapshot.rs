//! One opened generation: everything one query needs, in one call without the interpreter lock.
