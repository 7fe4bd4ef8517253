//! The filter program: the processor mode is looked at, then the call's number is searched for by halves,
//! then, for the few calls where it matters, the arguments.

use super::sections::{Section, Verdict};
use engine::ports::{SeccompAction, SeccompComparison, SeccompCondition};
use std::io;

/// More the kernel does not take.
const LONGEST: usize = 4096;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in the kernel's `seccomp_data`.
const NUMBER: u32 = 0;
const MODE: u32 = 4;
const ARGUMENTS: u32 = 16;

const KILL_PROCESS: u32 = 0x8000_0000;
const ENOSYS: u16 = 38;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

const fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, yes: 0, no: 0, value }
}

/// Builds the program of `sections`, as the bytes of its instructions.
pub(super) fn build(sections: &[Section]) -> io::Result<Vec<u8>> {
    let mut program = vec![plain(LOAD, MODE)];
    for section in sections {
        let body = body(section);
        program.push(Instruction { code: JUMP_EQUAL, yes: 1, no: 0, value: section.mode });
        program.push(over(&body));
        program.extend(body);
    }
    program.push(plain(RETURN, KILL_PROCESS));
    if program.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the seccomp profile is too large"));
    }
    let bytes = |i: &Instruction| {
        let ([a, b], [c, d, e, f]) = (i.code.to_ne_bytes(), i.value.to_ne_bytes());
        [a, b, i.yes, i.no, c, d, e, f]
    };
    Ok(program.iter().flat_map(bytes).collect())
}

/// An unconditional jump over `block`.
fn over(block: &[Instruction]) -> Instruction {
    // Far below 2^32: every block is checked against `LONGEST` in the end.
    plain(JUMP, u32::try_from(block.len()).unwrap_or(u32::MAX))
}

fn body(section: &Section) -> Vec<Instruction> {
    let mut body = vec![plain(LOAD, NUMBER)];
    if let Some(bit) = section.x32_bit {
        body.push(Instruction { code: JUMP_GREATER_EQUAL, yes: 0, no: 1, value: bit });
        body.push(give(SeccompAction::Errno(ENOSYS)));
    }
    body.extend(search(&intervals(section)));
    body
}

/// Where each verdict begins to hold, in order, from 0 on.
fn intervals(section: &Section) -> Vec<(u32, Verdict)> {
    let mut intervals: Vec<(u32, Verdict)> = Vec::new();
    let mut from = |number: u32, verdict: Verdict| match intervals.last() {
        Some((_, last)) if *last == verdict => {}
        Some((start, _)) if *start == number => {
            intervals.pop();
            intervals.push((number, verdict));
        }
        _ => intervals.push((number, verdict)),
    };
    let mut next = 0;
    for (&number, verdict) in &section.calls {
        if number > next {
            from(next, Verdict::always(section.default));
        }
        from(number, verdict.clone());
        next = number + 1;
    }
    from(next, Verdict::always(section.unknown));
    intervals
}

fn search(intervals: &[(u32, Verdict)]) -> Vec<Instruction> {
    match intervals {
        [] => Vec::new(),
        [(_, verdict)] => decide(verdict),
        _ => {
            let (low, high) = intervals.split_at(intervals.len() / 2);
            let pivot = high.first().map_or(0, |(start, _)| *start);
            let (low, high) = (search(low), search(high));
            let mut block = Vec::with_capacity(low.len() + high.len() + 2);
            match u8::try_from(low.len()) {
                Ok(yes) => {
                    block.push(Instruction { code: JUMP_GREATER_EQUAL, yes, no: 0, value: pivot });
                }
                Err(_) => {
                    block.push(Instruction { code: JUMP_GREATER_EQUAL, yes: 0, no: 1, value: pivot });
                    block.push(over(&low));
                }
            }
            block.extend(low);
            block.extend(high);
            block
        }
    }
}

fn decide(verdict: &Verdict) -> Vec<Instruction> {
    let mut block = Vec::new();
    for (conditions, action) in &verdict.alternatives {
        let mut steps: Vec<Step> = Vec::new();
        for condition in conditions {
            let test = test(condition);
            let end = steps.len() + test.len();
            steps.extend(test.into_iter().map(|step| step.ending_at(end)));
        }
        let behind = steps.len() + 1;
        block.extend(steps.iter().enumerate().map(|(at, step)| step.at(at, behind)));
        block.push(give(*action));
    }
    block.push(give(verdict.otherwise));
    block
}

fn give(action: SeccompAction) -> Instruction {
    let value = match action {
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Errno(number) => 0x0005_0000 | u32::from(number),
        SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Trace(number) => 0x7ff0_0000 | u32::from(number),
        SeccompAction::Log => 0x7ffc_0000,
    };
    plain(RETURN, value)
}

/// Where a comparison goes on.
#[derive(Clone, Copy, Debug)]
enum Target {
    Next,
    /// The condition holds: behind its last step.
    Holds,
    /// The same, its place known.
    Place(usize),
    /// It does not: behind the alternative.
    Fails,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    code: u16,
    value: u32,
    yes: Target,
    no: Target,
}

impl Step {
    fn ending_at(mut self, end: usize) -> Self {
        for target in [&mut self.yes, &mut self.no] {
            if let Target::Holds = target {
                *target = Target::Place(end);
            }
        }
        self
    }

    /// As the instruction at `at` of an alternative that ends before `behind`.
    fn at(&self, at: usize, behind: usize) -> Instruction {
        let distance = |target| {
            let place = match target {
                Target::Next | Target::Holds => at + 1,
                Target::Place(place) => place,
                Target::Fails => behind,
            };
            // Six conditions of at most six steps each.
            u8::try_from(place - at - 1).unwrap_or(u8::MAX)
        };
        Instruction { code: self.code, yes: distance(self.yes), no: distance(self.no), value: self.value }
    }
}

/// The steps of one condition. Arguments have 64 bits, the machine has 32: the upper half decides unless
/// it is equal.
fn test(condition: &SeccompCondition) -> Vec<Step> {
    use Target::{Fails, Holds, Next};
    let low = ARGUMENTS + 8 * u32::from(condition.argument);
    let high = low + 4;
    let do_it = |code, value| Step { code, value, yes: Next, no: Next };
    let jump = |code, value, yes, no| Step { code, value, yes, no };
    let halves = |value: u64| {
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
    };
    // `above`: when the upper half is greater; `below`: when it is less.
    let ordered = |value: u64, code, above, below, yes, no| {
        let (upper, lower) = halves(value);
        vec![
            do_it(LOAD, high),
            jump(JUMP_GREATER, upper, above, Next),
            jump(JUMP_EQUAL, upper, Next, below),
            do_it(LOAD, low),
            jump(code, lower, yes, no),
        ]
    };
    match condition.comparison {
        SeccompComparison::Equal(value) => {
            let (upper, lower) = halves(value);
            vec![
                do_it(LOAD, high),
                jump(JUMP_EQUAL, upper, Next, Fails),
                do_it(LOAD, low),
                jump(JUMP_EQUAL, lower, Holds, Fails),
            ]
        }
        SeccompComparison::NotEqual(value) => {
            let (upper, lower) = halves(value);
            vec![
                do_it(LOAD, high),
                jump(JUMP_EQUAL, upper, Next, Holds),
                do_it(LOAD, low),
                jump(JUMP_EQUAL, lower, Fails, Holds),
            ]
        }
        SeccompComparison::MaskedEqual { mask, value } => {
            let ((upper_mask, lower_mask), (upper, lower)) = (halves(mask), halves(value));
            vec![
                do_it(LOAD, high),
                do_it(AND, upper_mask),
                jump(JUMP_EQUAL, upper, Next, Fails),
                do_it(LOAD, low),
                do_it(AND, lower_mask),
                jump(JUMP_EQUAL, lower, Holds, Fails),
            ]
        }
        SeccompComparison::Greater(value) => ordered(value, JUMP_GREATER, Holds, Fails, Holds, Fails),
        SeccompComparison::GreaterOrEqual(value) => {
            ordered(value, JUMP_GREATER_EQUAL, Holds, Fails, Holds, Fails)
        }
        SeccompComparison::Less(value) => ordered(value, JUMP_GREATER_EQUAL, Fails, Holds, Fails, Holds),
        SeccompComparison::LessOrEqual(value) => ordered(value, JUMP_GREATER, Fails, Holds, Fails, Holds),
    }
}

#[cfg(test)]
mod tests;
