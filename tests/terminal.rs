//! A bar where a person watches, plain lines elsewhere; under mpirun it is the launcher's terminal that counts.

use bachdist_test_support::harness::{Ended, Place, bachdist, ended};
use bachdist_test_support::tools::{need, on_path};

const ESCAPE: char = '\x1b';

/// Runs a command line of the shell on a terminal of 80 columns; it ends well.
fn on_a_terminal(place: &Place, line: &str) -> Option<Ended> {
    Some(on_a_terminal_with(place, line)?.ok())
}

/// The same, however it ends.
fn on_a_terminal_with(place: &Place, line: &str) -> Option<Ended> {
    let script = need("script", on_path("script"))?;
    let mut command = place.command(script);
    command.env("TERM", "xterm").args(["-qec", &format!("stty cols 80 rows 24; {line}"), "/dev/null"]);
    Some(ended(&mut command))
}

fn mpirun(options: &str) -> Option<String> {
    let mpirun = need("mpi", on_path("mpirun"))?;
    Some(format!(
        "{} --oversubscribe -n 2 {} train tiny.toml {options}",
        mpirun.display(),
        bachdist().display()
    ))
}

/// Everything that a plain run prints, and no control codes.
fn assert_plain(text: &str) {
    assert!(!text.contains(ESCAPE), "{text:?}");
    assert!(text.contains("epoch 3/3") && text.contains("done: "), "{text}");
}

/// The bar of the last epoch, drawn, and the lines that stay.
fn assert_bar(text: &str) {
    assert!(text.contains(ESCAPE), "{text:?}");
    assert!(text.contains("epoch 3/3 [") && text.contains("] 4/4"), "{text:?}");
    assert!(text.contains("done: "), "{text:?}");
}

#[test]
#[ignore = "needs script"]
fn a_bar_is_drawn_on_the_terminal_of_the_launcher() {
    let place = Place::with_tiny();
    let Some(line) = mpirun("") else { return };
    let Some(ended) = on_a_terminal(&place, &line) else { return };
    assert_bar(&ended.stdout);
}

#[test]
#[ignore = "needs script"]
fn a_bar_is_drawn_on_a_terminal_without_a_launcher() {
    let place = Place::with_tiny();
    let line = format!("{} train tiny.toml", bachdist().display());
    let Some(ended) = on_a_terminal(&place, &line) else { return };
    assert_bar(&ended.stdout);
}

#[test]
#[ignore = "needs mpi"]
fn lines_are_printed_where_the_launcher_has_no_terminal() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(2, "train tiny.toml") else { return };
    let ended = ended.ok();
    assert_plain(&ended.stdout);
    assert!(!ended.stderr.contains(ESCAPE), "{:?}", ended.stderr);
}

#[test]
#[ignore = "needs script"]
fn lines_are_printed_where_only_the_output_is_a_terminal() {
    // What a person sees who keeps the errors: `mpirun ... 2>log`.
    let place = Place::with_tiny();
    let Some(line) = mpirun("") else { return };
    let Some(ended) = on_a_terminal(&place, &format!("{line} 2>log")) else { return };
    assert_plain(&ended.stdout);
}

#[test]
#[ignore = "needs script"]
fn a_terminal_without_control_codes_gets_none() {
    for environment in ["TERM=dumb", "TERM=dumb CI=true", "-u TERM", "NO_COLOR=1"] {
        for command in ["train tiny.toml", "train --help", "train", "data inspect nowhere", "replay run"] {
            let place = Place::with_tiny();
            let line = format!("env {environment} {} {command}", bachdist().display());
            let Some(ended) = on_a_terminal_with(&place, &line) else { return };
            assert!(!ended.stdout.contains(ESCAPE), "{environment} {command}: {:?}", ended.stdout);
            assert!(command != "train tiny.toml" || ended.stdout.contains("done: "));
        }
        let place = Place::with_tiny();
        let Some(line) = mpirun("") else { return };
        let ended =
            on_a_terminal_with(&place, &format!("env {environment} {line}")).expect("script was there");
        assert!(!ended.stdout.contains(ESCAPE) && ended.stdout.contains("done: "), "{:?}", ended.stdout);
    }
}

#[test]
#[ignore = "needs script"]
fn help_has_the_colors_that_the_environment_asks_for() {
    for (environment, on_terminal, piped) in [
        ("TERM=xterm", true, false),
        ("TERM=xterm CLICOLOR=0", false, false),
        ("TERM=xterm CLICOLOR_FORCE=1", true, true),
    ] {
        let place = Place::new();
        let line = format!("env -u NO_COLOR -u CI {environment} {} --help", bachdist().display());
        let Some(shown) = on_a_terminal_with(&place, &line) else { return };
        assert_eq!(shown.stdout.contains(ESCAPE), on_terminal, "{environment}: {:?}", shown.stdout);
        let piped_help = ended(place.command("env").args(line.split(' ').skip(1)));
        assert_eq!(piped_help.stdout.contains(ESCAPE), piped, "{environment}");
    }
}

#[test]
#[ignore = "needs mpi, script"]
fn the_progress_option_overrules_the_terminal() {
    let place = Place::with_tiny();
    let Some(line) = mpirun("--progress plain") else { return };
    let Some(ended) = on_a_terminal(&place, &line) else { return };
    assert_plain(&ended.stdout);

    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(2, "train tiny.toml --progress bar") else { return };
    assert!(ended.ok().stderr.contains(ESCAPE));
}

#[test]
fn every_plain_line_fits_80_columns() {
    let place = Place::new();
    place.write("cello.toml", include_str!("../configs/cello.toml"));
    let options = "--set data.midi=embedded --set train.batch_size=8 --set model.units=16";
    let run = format!("train cello.toml {options} --set train.epochs=100");
    let mut text = place.bachdist(&format!("{run} --set train.max_steps=90")).ok().stdout;
    text += &place.bachdist(&format!("{run} --set train.max_steps=170")).ok().stdout;
    text += &place.bachdist(&format!("{run} --dry-run")).ok().stdout;
    assert!(text.contains("epoch 2/"), "{text}");
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}
