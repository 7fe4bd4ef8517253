//! Repeated measurements and how they are printed.

use anyhow::Result;

/// Several measurements of one thing.
#[derive(Debug)]
pub(crate) struct Sample {
    name: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Sample {
    /// Measures `n` times after one warm-up that does not count.
    pub(crate) fn take(
        name: &'static str,
        unit: &'static str,
        n: usize,
        mut measure: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        measure()?;
        let values = (0..n).map(|_| measure()).collect::<Result<_>>()?;
        Ok(Self::print(name, unit, values))
    }

    /// Takes measurements as they are and prints them.
    pub(crate) fn print(name: &'static str, unit: &'static str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let sample = Self { name, unit, values };
        let (min, max) = (sample.values.first(), sample.values.last());
        out(&format!(
            "{name} {:.3} {unit} (min {:.3}, max {:.3}, n {})",
            sample.median(),
            min.copied().unwrap_or(f64::NAN),
            max.copied().unwrap_or(f64::NAN),
            sample.values.len()
        ));
        sample
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.values.get(self.values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Prints ours ÷ theirs.
    pub(crate) fn against(&self, peer: &Self) {
        debug_assert_eq!(self.unit, peer.unit);
        out(&format!("{} / {} = {:.3}", self.name, peer.name, self.median() / peer.median()));
    }
}

/// One line of results.
#[expect(clippy::print_stdout, reason = "a benchmark's results are its output")]
pub(crate) fn out(line: &str) {
    println!("{line}");
}
