//! The table of `machine ls`, laid out as docker-machine's: columns three spaces apart.

use super::Row;
use serde_json::{Value, json};
use std::cmp::Ordering;

const HEADINGS: &str = "NAME\tACTIVE\tDRIVER\tSTATE\tURL\tSWARM\tDOCKER\tERRORS";
const GAP: usize = 3;

/// The lines of the table.
pub(super) fn render(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| {
        let Row { name, active, driver_name, state, url, swarm, docker_version, error, .. } = row;
        // A line end in an error would tear the table apart.
        let error = error.replace(['\n', '\t'], " ");
        [name, active, driver_name, state, url, swarm, docker_version, &error].map(String::as_str).join("\t")
    };
    let lines: Vec<String> = std::iter::once(HEADINGS.to_owned()).chain(rows.iter().map(line)).collect();
    align(&lines)
}

/// What stands above the columns of `--format 'table …'`, by field.
pub(super) fn headings() -> Value {
    json!({
        "Name": "NAME",
        "Active": "ACTIVE",
        "ActiveHost": "ACTIVE_HOST",
        "ActiveSwarm": "ACTIVE_SWARM",
        "DriverName": "DRIVER",
        "State": "STATE",
        "URL": "URL",
        "SwarmOptions": "SWARM_OPTIONS",
        "Swarm": "SWARM",
        "EngineOptions": "ENGINE_OPTIONS",
        "Error": "ERRORS",
        "DockerVersion": "DOCKER",
        "ResponseTime": "RESPONSE",
    })
}

/// Replaces tabs by as many spaces as line the cells up. The last cell of a line is not padded.
pub(super) fn align(lines: &[String]) -> Vec<String> {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        cells.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let aligned = |line: &Vec<&str>| {
        let last = line.len().saturating_sub(1);
        let pad = |(column, cell): (usize, &&str)| {
            let width = if column == last { 0 } else { widths[column] + GAP };
            format!("{cell:width$}")
        };
        line.iter().enumerate().map(pad).collect::<String>()
    };
    cells.iter().map(aligned).collect()
}

/// Compares without regard to case, and runs of digits as numbers: `a2` before `a10`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.to_lowercase(), b.to_lowercase());
    loop {
        let (left, right) = (take_run(&mut a), take_run(&mut b));
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let order = match (left.parse::<u64>(), right.parse::<u64>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => left.cmp(&right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the leading digits, or the leading other characters.
fn take_run(text: &mut String) -> String {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let rest = text.split_off(end);
    std::mem::replace(text, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_read_them() {
        let mut names = ["b", "a10", "A2", "a", "a2b", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["9", "10", "a", "A2", "a2b", "a10", "b"]);
    }

    #[test]
    fn cells_line_up_and_lines_have_no_tail() {
        let lines = align(&["A\tB\tC".to_owned(), "long\t\tx".to_owned()]);
        assert_eq!(lines, ["A      B   C", "long       x"]);
    }
}
