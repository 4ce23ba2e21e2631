//! The program: parse, run, say what went wrong, choose the exit code.

fn main() {}
