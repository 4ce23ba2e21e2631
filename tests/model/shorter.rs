//! Of a program that fails, the steps that it takes to fail.

use super::step::Step;
use std::time::{Duration, Instant};

/// Why a program failed.
pub(super) struct Failure {
    /// How many of its steps were fine.
    pub(super) passed: usize,
    pub(super) text: String,
}

/// How often and for how long a program that fails is run with fewer steps.
const RUNS_MAX: usize = 400;
const TIME_MAX: Duration = Duration::from_secs(240);

/// Leaves out steps as long as it still fails: first many at once, then fewer. Gives what is left,
/// and how that fails.
pub(super) fn shorten(
    mut program: Vec<Step>, mut text: String, run: impl Fn(&[Step]) -> Result<(), Failure>,
) -> (Vec<Step>, String) {
    let start = Instant::now();
    let mut runs = 0;
    let mut length = program.len().div_ceil(2);
    loop {
        let mut is_shorter = false;
        let mut at = program.len();
        while at > 0 {
            let from = at.saturating_sub(length);
            let without = [&program[..from], &program[at..]].concat();
            runs += 1;
            if runs > RUNS_MAX || start.elapsed() > TIME_MAX {
                return (program, text);
            }
            if !without.is_empty()
                && let Err(failure) = run(&without)
            {
                program = without;
                program.truncate(failure.passed + 1);
                text = failure.text;
                is_shorter = true;
            }
            at = from.min(program.len());
        }
        match length {
            1 if !is_shorter => return (program, text),
            1 => {}
            _ => length = length.div_ceil(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::programs::Kind;
    use crate::model::soak::draw_program;
    use crate::model::step::{parse, text_of};

    fn steps(seed: u64) -> Vec<Step> {
        draw_program(Kind::WithRegistry, 120, seed).into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn what_fails_is_made_as_short_as_it_can_be() {
        let is = |word: &str, step: &Step| step.to_string().starts_with(word);
        // Stands for a mount that forgets everything when a folder is removed after a push.
        let run = |program: &[Step]| {
            let pushed = program.iter().position(|step| is("push-blob", step));
            let removed = program.iter().rposition(|step| is("rmdir", step));
            match (pushed, removed) {
                (Some(pushed), Some(removed)) if pushed < removed => {
                    Err(Failure { passed: removed, text: format!("after {removed} steps") })
                }
                _ => Ok(()),
            }
        };
        let failing = (0..).map(steps).find_map(|program| {
            let failure = run(&program).err()?;
            Some((program, failure))
        });
        let (program, failure) = failing.unwrap();
        assert!(failure.passed > 10, "{}", failure.text);
        let (shortest, text) = shorten(program, failure.text, run);
        let words: Vec<String> = shortest
            .iter()
            .map(|step| step.to_string().split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(words, ["push-blob", "rmdir"]);
        assert_eq!(text, "after 1 steps");
    }

    #[test]
    fn a_program_that_is_printed_can_be_run_again() {
        for program in (0..20).map(steps) {
            assert_eq!(parse(&text_of(&program)), program);
        }
    }
}
