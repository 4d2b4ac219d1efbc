//! The lists for themselves (`lists`), and their programs against two independent readings of the same lists
//! (`programs`): a direct evaluation, and the programs that `seccompiler` makes. Programs are run by an interpreter.

mod interpreter;
mod lists;
mod programs;
