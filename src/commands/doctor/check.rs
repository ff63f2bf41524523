//! A check, its line, and what several ranks found together.

use std::fmt;

use bachdist_portable::failure::ExitCode;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Training works, but not as it could.
    Warning,
    /// Training fails.
    Problem,
}

/// What was found of one thing. Ranks send each other theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: Status,
    pub found: String,
    /// Unless it is ok.
    pub remedy: Option<String>,
    /// What training would end with; 0 unless it is a problem.
    pub code: u8,
}

impl Check {
    pub fn ok(name: &str, found: impl Into<String>) -> Check {
        Check { name: name.into(), status: Status::Ok, found: found.into(), remedy: None, code: 0 }
    }

    pub fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        let remedy = Some(remedy.into());
        Check { name: name.into(), status: Status::Warning, found: found.into(), remedy, code: 0 }
    }

    pub fn problem(name: &str, code: ExitCode, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { status: Status::Problem, code: code as u8, ..Check::warning(name, found, remedy) }
    }

    /// The problem behind an error of training, whose line has what to do in parentheses or after its last semicolon.
    /// Otherwise it is `remedy`.
    pub fn of_error(name: &str, code: ExitCode, line: &str, remedy: &str) -> Check {
        if let Some((before, rest)) = line.rsplit_once(" (")
            && let Some((remedy, after)) = rest.split_once(')')
            && (after.is_empty() || after.starts_with("; tried "))
        {
            return Check::problem(name, code, format!("{before}{after}"), remedy);
        }
        let (found, remedy) = line.rsplit_once("; ").unwrap_or((line, remedy));
        Check::problem(name, code, found, remedy)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Problem => "problem",
        };
        write!(f, "{status:<8} {:<11} {}", self.name, self.found)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "\n{:<9}{remedy}", ""))
    }
}

/// The checks of all ranks as one list: of each name the worst, with the first rank that has it, unless all have it.
pub fn merged(ranks: &[(String, Vec<Check>)]) -> Vec<Check> {
    let mut names: Vec<&str> = Vec::new();
    for check in ranks.iter().flat_map(|(_, checks)| checks) {
        if !names.contains(&check.name.as_str()) {
            names.push(&check.name);
        }
    }
    let mut all = Vec::new();
    for name in names {
        let found: Vec<(usize, &Check)> = ranks
            .iter()
            .enumerate()
            .flat_map(|(rank, (_, checks))| checks.iter().map(move |check| (rank, check)))
            .filter(|(_, check)| check.name == name)
            .collect();
        let worst = found.iter().map(|(_, check)| check.status).max().expect("somebody has it");
        let of_worst: Vec<_> = found.iter().filter(|(_, check)| check.status == worst).collect();
        let &&(rank, first) = of_worst.first().expect("somebody has it");
        let mut check = first.clone();
        if worst != Status::Ok && ranks.len() > 1 && of_worst.len() < ranks.len() {
            check.found = format!("{}: {}", rank_names(rank, &ranks[rank].0, of_worst.len()), check.found);
        }
        all.push(check);
    }
    all
}

/// The first of some ranks, and how many more there are.
pub fn rank_names(first: usize, host: &str, count: usize) -> String {
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    format!("rank {first} on {host}{more}")
}
