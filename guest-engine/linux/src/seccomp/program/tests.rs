//! Programs are run here by a little machine of our own, as the kernel's would.

use super::{super::sections, *};
use engine::ports::{SeccompPolicy, SeccompRule};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn rule(names: &[&str], action: SeccompAction, conditions: Vec<SeccompCondition>) -> SeccompRule {
    SeccompRule { names: names.iter().map(ToString::to_string).collect(), action, conditions }
}

fn program(rules: Vec<SeccompRule>) -> Vec<u8> {
    let policy = SeccompPolicy {
        default: SeccompAction::Errno(1),
        architectures: vec!["SCMP_ARCH_X86".to_owned()],
        rules,
    };
    build(&sections::of(&policy)).unwrap()
}

fn run(program: &[u8], mode: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&mode.to_le_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let i: [u8; 8] = program[at * 8..at * 8 + 8].try_into().unwrap();
        let (code, value) = (u16::from_le_bytes([i[0], i[1]]), u32::from_le_bytes([i[4], i[5], i[6], i[7]]));
        let holds = match code {
            LOAD => {
                let from = value as usize;
                accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                at += 1;
                continue;
            }
            AND => {
                accumulator &= value;
                at += 1;
                continue;
            }
            JUMP => {
                at += 1 + value as usize;
                continue;
            }
            RETURN => return value,
            JUMP_EQUAL => accumulator == value,
            JUMP_GREATER => accumulator > value,
            JUMP_GREATER_EQUAL => accumulator >= value,
            other => panic!("instruction {other:#x}"),
        };
        at += 1 + usize::from(if holds { i[2] } else { i[3] });
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_number_gets_its_verdict_in_every_mode() {
    let names: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).step_by(2).collect();
    let program = program(vec![rule(&names, SeccompAction::Allow, Vec::new())]);
    let last = names.iter().map(|n| n.parse::<syscalls::x86_64::Sysno>().unwrap().id()).max().unwrap();
    for number in 0..1024_u32 {
        let name = syscalls::x86_64::Sysno::new(number as usize).map(|call| call.name());
        let expected = match name {
            Some(name) if names.contains(&name) => ALLOW,
            _ if number > last.unsigned_abs() => ENOSYS,
            _ => EPERM,
        };
        assert_eq!(run(&program, X86_64, number, &[]), expected, "{number} {name:?}");
    }
    // Calls have other numbers in 32-bit programs.
    for name in &names {
        if let Ok(call) = name.parse::<syscalls::x86::Sysno>() {
            assert_eq!(run(&program, X86, call.id().unsigned_abs(), &[]), ALLOW, "{name}");
        }
    }
    assert_eq!(run(&program, X86_64, 0x4000_0000, &[]), ENOSYS);
    assert_eq!(run(&program, 0x1234, 0, &[]), KILL_PROCESS);
}

#[test]
fn comparisons_look_at_all_64_bits() {
    use SeccompComparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual};
    let pivot = 0x5_0000_0007_u64;
    let values = [0, 7, 8, pivot - 1, pivot, pivot + 1, 0x4_ffff_ffff, 0x6_0000_0000, u64::MAX];
    type Truth = fn(u64, u64) -> bool;
    let cases: [(SeccompComparison, Truth); 7] = [
        (Equal(pivot), |a, b| a == b),
        (NotEqual(pivot), |a, b| a != b),
        (Less(pivot), |a, b| a < b),
        (LessOrEqual(pivot), |a, b| a <= b),
        (Greater(pivot), |a, b| a > b),
        (GreaterOrEqual(pivot), |a, b| a >= b),
        (MaskedEqual { mask: 0x4_0000_0001, value: 0x4_0000_0001 }, |a, _| {
            a & 0x4_0000_0001 == 0x4_0000_0001
        }),
    ];
    let personality = 135;
    for (comparison, truth) in cases {
        let condition = SeccompCondition { argument: 2, comparison };
        let program = program(vec![rule(&["personality"], SeccompAction::Allow, vec![condition])]);
        for value in values {
            let expected = if truth(value, pivot) { ALLOW } else { EPERM };
            let got = run(&program, X86_64, personality, &[1, 2, value]);
            assert_eq!(got, expected, "{comparison:?} {value:#x}");
        }
    }
}

#[test]
fn all_conditions_of_a_rule_hold_or_the_next_rule_counts() {
    let equal = |argument, value| SeccompCondition { argument, comparison: SeccompComparison::Equal(value) };
    let program = program(vec![
        rule(&["socket"], SeccompAction::Allow, vec![equal(0, 1), equal(1, 2)]),
        rule(&["socket"], SeccompAction::Errno(38), vec![equal(0, 1)]),
        rule(&["clone"], SeccompAction::Allow, vec![equal(0, 5)]),
        rule(&["clone"], SeccompAction::Allow, Vec::new()),
    ]);
    assert_eq!(run(&program, X86_64, 41, &[1, 2]), ALLOW);
    assert_eq!(run(&program, X86_64, 41, &[1, 3]), ENOSYS);
    assert_eq!(run(&program, X86_64, 41, &[2, 2]), EPERM);
    assert_eq!(run(&program, X86_64, 56, &[9]), ALLOW, "a rule without conditions decides");
}
