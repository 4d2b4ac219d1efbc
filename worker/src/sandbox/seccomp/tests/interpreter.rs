//! Runs BPF programs as the kernel does.

use super::super::program::{ARCHITECTURE, ARGUMENTS, NUMBER, THIS_ARCHITECTURE};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) architecture: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// A call by the calling convention of this build.
    pub(super) fn new(number: u32, arguments: [u64; 6]) -> Self {
        Self { architecture: THIS_ARCHITECTURE.unwrap(), number, arguments }
    }

    /// The word at this offset in `struct seccomp_data`, bytes.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            NUMBER => self.number,
            ARCHITECTURE => self.architecture,
            at if at >= ARGUMENTS && at % 4 == 0 => {
                (self.arguments[(at - ARGUMENTS) as usize / 8] >> (8 * ((at - ARGUMENTS) % 8))) as u32
            }
            other => panic!("load from offset {other}"),
        }
    }
}

/// The value that the program returns. Panics where the kernel would reject the program.
pub(super) fn run(program: &[sock_filter], call: &Call) -> u32 {
    let (mut next, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[next];
        next += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match u32::from(code) {
            c if c == BPF_LD | BPF_W | BPF_ABS => accumulator = call.word(k),
            c if c == BPF_ALU | BPF_AND | BPF_K => accumulator &= k,
            c if c == BPF_JMP | BPF_JA => next += k as usize,
            c if c == BPF_JMP | BPF_JEQ | BPF_K => next += branch(accumulator == k),
            c if c == BPF_JMP | BPF_JGT | BPF_K => next += branch(accumulator > k),
            c if c == BPF_JMP | BPF_JGE | BPF_K => next += branch(accumulator >= k),
            c if c == BPF_RET | BPF_K => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
