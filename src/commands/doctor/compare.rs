//! What the reports of all ranks say together: MPI, cores, threads, and whether the hosts are alike.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use bachdist_portable::environment::{self, THREADS};
use bachdist_portable::failure::ExitCode;
use bachdist_portable::print::count;

use super::check::{Check, merged, rank_names};
use super::rank::{NO_VECTORS, RankReport};

/// All checks of the machine and the music, in the order of the report.
pub fn compare(ranks: &[RankReport]) -> Vec<Check> {
    let by_rank: Vec<_> = ranks.iter().map(|rank| (rank.host.clone(), rank.checks.clone())).collect();
    let of_ranks = merged(&by_rank);
    let mut checks = vec![mpi(ranks), cores(ranks)];
    if of_ranks.iter().all(|check| check.name != "threads") {
        checks.push(threads(ranks));
    }
    checks.push(processor(ranks));
    if ranks.len() > 1 {
        checks.extend([
            same(
                "program",
                ranks,
                |rank| &rank.program,
                ExitCode::Usage,
                "install the same build on every host; replace it where it differs",
            ),
            same(
                "config",
                ranks,
                |rank| &rank.config,
                ExitCode::Data,
                "give every rank the same arguments, and every host the same file",
            ),
        ]);
    }
    checks.extend(of_ranks);
    checks
}

/// A problem unless all ranks have what rank 0 has.
fn same(
    name: &str,
    ranks: &[RankReport],
    value: impl Fn(&RankReport) -> &str,
    code: ExitCode,
    remedy: &str,
) -> Check {
    match others(ranks, |rank| value(rank) != value(&ranks[0])) {
        Some(who) => Check::problem(name, code, format!("{who}: not the one of rank 0"), remedy),
        None => Check::ok(name, format!("the same on {}", count(ranks.len() as u64, "rank"))),
    }
}

/// The ranks of which something holds.
fn others(ranks: &[RankReport], holds: impl Fn(&RankReport) -> bool) -> Option<String> {
    let found: Vec<usize> = (0..ranks.len()).filter(|&rank| holds(&ranks[rank])).collect();
    let first = *found.first()?;
    Some(rank_names(first, &ranks[first].host, found.len()))
}

fn mpi(ranks: &[RankReport]) -> Check {
    let name = "MPI";
    let root = &ranks[0];
    let Some(library) = &root.mpi else {
        let found = "none in this program, which trains in one process";
        return Check::warning(name, found, "build it with the feature mpi to train on several ranks");
    };
    if let Some(who) = others(ranks, |rank| rank.mpi.as_ref() != Some(library)) {
        let found = format!("{library} on rank 0, another on {who}");
        return Check::warning(name, found, "install the same MPI on every host");
    }
    let number = ranks.len();
    let hosts: BTreeSet<&str> = ranks.iter().map(|rank| rank.host.as_str()).collect();
    let [ranks, hosts] =
        [(number, "rank"), (hosts.len(), "host")].map(|(number, noun)| count(number as u64, noun));
    if !library.starts_with("Open MPI") {
        return Check::warning(
            name,
            format!("{library}, {ranks} on {hosts}"),
            "build it with Open MPI: launch/job and its stop signals need that",
        );
    }
    if number == 1 {
        return mpi_alone(library);
    }
    let stops = if root.by_mpirun { "stop by USR1" } else { "stop by TERM or USR1" };
    // How many mpirun counts; with more ranks it wants --oversubscribe.
    let slots = environment::variable("OMPI_UNIVERSE_SIZE").ok().flatten();
    let slots = slots.map_or(String::new(), |slots| format!(", {slots} slots"));
    Check::ok(name, format!("{library}, {ranks} on {hosts}{slots}; {stops}"))
}

/// Whether the mpirun that a user would start belongs to the library in this program.
fn mpi_alone(library: &str) -> Check {
    let name = "MPI";
    let found = match Command::new("mpirun").arg("--version").output() {
        Err(error) => {
            let found = format!("{library}, but mpirun does not start: {error}");
            return Check::warning(
                name,
                found,
                "put it on the PATH (launch/setup installs it) to start several ranks",
            );
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
    };
    let first = found.lines().next().unwrap_or_default();
    if !is_version_of(first, library) {
        return Check::warning(
            name,
            format!("{library} in this program, and mpirun of {first:?}"),
            "put the mpirun of that MPI first on the PATH",
        );
    }
    Check::ok(name, format!("{library}, one process; mpirun is the same"))
}

/// Whether `mpirun (Open MPI) 4.1.4` belongs to `Open MPI 4.1.4`.
fn is_version_of(line: &str, library: &str) -> bool {
    let Some((family, version)) = library.rsplit_once(' ') else { return false };
    line.contains(family) && line.split_whitespace().any(|word| word == version)
}

/// The ranks of a host, and the cores that they may run on together.
struct Host<'a> {
    ranks: Vec<&'a RankReport>,
    /// Those that mpirun binds them to.
    bound: usize,
    /// As many of these as a control group leaves them.
    cores: usize,
}

fn hosts(ranks: &[RankReport]) -> BTreeMap<&str, Host<'_>> {
    let mut hosts: BTreeMap<&str, Host<'_>> = BTreeMap::new();
    for rank in ranks {
        hosts.entry(&rank.host).or_insert(Host { ranks: Vec::new(), bound: 0, cores: 0 }).ranks.push(rank);
    }
    for host in hosts.values_mut() {
        let cores: BTreeSet<usize> = host.ranks.iter().flat_map(|rank| &rank.cores).copied().collect();
        // A rank that may use fewer than it may run on has a quota, which all ranks of the host share.
        let quotas = host.ranks.iter().filter(|rank| rank.usable_cores < rank.cores.len());
        let quota = quotas.map(|rank| rank.usable_cores).min().unwrap_or(usize::MAX);
        host.bound = cores.len();
        host.cores = host.bound.min(quota).max(1);
    }
    hosts
}

/// Whether each rank has a core, and mpirun left none unused.
fn cores(ranks: &[RankReport]) -> Check {
    let name = "cores";
    let hosts = hosts(ranks);
    for (host_name, host) in &hosts {
        let launcher = host.ranks.iter().find_map(|rank| rank.launcher_cores.as_ref()).map_or(0, Vec::len);
        if host.bound < launcher {
            return Check::warning(
                name,
                format!(
                    "mpirun binds {} of {host_name} to {} of {}",
                    count(host.ranks.len() as u64, "rank"),
                    host.bound,
                    count(launcher as u64, "core"),
                ),
                "start it with --bind-to none, as launch/job does",
            );
        }
        if host.ranks.len() > host.cores {
            return Check::warning(
                name,
                format!(
                    "{} share {} of {host_name}",
                    count(host.ranks.len() as u64, "rank"),
                    count(host.cores as u64, "core")
                ),
                format!("start at most {} there: more wait for each other", count(host.cores as u64, "rank")),
            );
        }
    }
    let all: usize = hosts.values().map(|host| host.cores).sum();
    Check::ok(name, format!("{} for {}", count(all as u64, "core"), count(ranks.len() as u64, "rank")))
}

/// Whether the threads of a host's ranks have a core each.
fn threads(ranks: &[RankReport]) -> Check {
    let name = "threads";
    for (host_name, host) in hosts(ranks) {
        let threads: usize = host.ranks.iter().map(|rank| rank.threads).sum();
        // More ranks than cores are a warning already.
        if threads > host.cores.max(host.ranks.len()) {
            let each = (host.cores / host.ranks.len()).max(1);
            return Check::warning(
                name,
                format!("{threads} on {} of {host_name}", count(host.cores as u64, "core")),
                format!("unset {THREADS}, or set it to {each}"),
            );
        }
    }
    let fewest = ranks.iter().map(|rank| rank.threads).min().unwrap_or(1);
    let most = ranks.iter().map(|rank| rank.threads).max().unwrap_or(1);
    let each =
        if fewest == most { count(most as u64, "thread") } else { format!("{fewest} to {most} threads") };
    Check::ok(name, format!("{each} a rank"))
}

/// Whether all processors have vectors, and the same.
fn processor(ranks: &[RankReport]) -> Check {
    let name = "processor";
    if let Some(who) = others(ranks, |rank| rank.vectors == NO_VECTORS) {
        return Check::warning(
            name,
            format!("{who}: without AVX2 and fused multiply-adds"),
            "use a newer one: the bits are the same, the speed is a fraction",
        );
    }
    let root = &ranks[0].vectors;
    match others(ranks, |rank| rank.vectors != *root) {
        Some(who) => Check::warning(
            name,
            format!("{root} on rank 0, not on {who}"),
            "use hosts of one kind: every step waits for the slowest",
        ),
        None => Check::ok(name, root.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    fn rank(host: &str, cores: &[usize]) -> RankReport {
        RankReport {
            host: host.into(),
            mpi: Some("Open MPI 4.1.4".into()),
            by_mpirun: true,
            cores: cores.to_vec(),
            usable_cores: cores.len(),
            launcher_cores: Some(cores.to_vec()),
            threads: 1,
            vectors: "AVX2".into(),
            program: "a".into(),
            config: "b".into(),
            checks_run: false,
            checks: vec![Check::ok("hosts", "all")],
        }
    }

    fn found<'a>(checks: &'a [Check], name: &str) -> (Status, &'a str) {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        (check.status, &check.found)
    }

    #[test]
    fn hosts_that_are_alike() {
        let ranks = [rank("a", &[0, 1]), rank("a", &[0, 1]), rank("b", &[0, 1])];
        let checks = compare(&ranks);
        assert!(checks.iter().all(|check| check.status == Status::Ok && check.code == 0), "{checks:?}");
        assert_eq!(found(&checks, "cores").1, "4 cores for 3 ranks");
    }

    #[test]
    fn a_host_that_differs_is_named() {
        let mut ranks = [rank("a", &[0]), rank("b", &[0]), rank("b", &[0])];
        ranks[1].vectors = "AVX-512".into();
        ranks[2].program = "c".into();
        ranks[1].config = "c".into();
        ranks[2].config = "c".into();
        ranks[1].checks = vec![Check::problem("hosts", ExitCode::Usage, "c has no address", "add it")];
        let checks = compare(&ranks);
        assert_eq!(found(&checks, "processor"), (Status::Warning, "AVX2 on rank 0, not on rank 1 on b"));
        assert_eq!(found(&checks, "program"), (Status::Problem, "rank 2 on b: not the one of rank 0"));
        assert_eq!(
            found(&checks, "config"),
            (Status::Problem, "rank 1 on b and 1 more: not the one of rank 0")
        );
        assert_eq!(found(&checks, "hosts"), (Status::Problem, "rank 1 on b: c has no address"));
        assert_eq!(found(&checks, "cores"), (Status::Warning, "2 ranks share 1 core of b"));
        ranks[2].mpi = Some("Open MPI 5.0.11".into());
        let other = "Open MPI 4.1.4 on rank 0, another on rank 2 on b";
        assert_eq!(found(&compare(&ranks), "MPI"), (Status::Warning, other));
    }

    #[test]
    fn ranks_that_mpirun_binds_leave_cores_unused() {
        let mut ranks = [rank("a", &[0]), rank("a", &[1])];
        for rank in &mut ranks {
            rank.launcher_cores = Some((0..64).collect());
        }
        let wasted = (Status::Warning, "mpirun binds 2 ranks of a to 2 of 64 cores");
        assert_eq!(found(&compare(&ranks), "cores"), wasted);
    }

    #[test]
    fn a_quota_counts_as_so_many_cores() {
        let mut ranks = [rank("a", &[0, 1, 2, 3]), rank("a", &[0, 1, 2, 3])];
        for rank in &mut ranks {
            (rank.usable_cores, rank.threads) = (2, 2);
        }
        assert_eq!(found(&compare(&ranks), "threads"), (Status::Warning, "4 on 2 cores of a"));
    }

    #[test]
    fn mpirun_belongs_to_a_library_of_its_version() {
        assert!(is_version_of("mpirun (Open MPI) 4.1.4", "Open MPI 4.1.4"));
        assert!(!is_version_of("mpirun (Open MPI) 5.0.11", "Open MPI 4.1.4"));
        assert!(!is_version_of("HYDRA build details:", "Open MPI 4.1.4"));
    }
}
