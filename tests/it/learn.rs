//! Warm start and shadows, as a user sees them.

use super::program::{Folder, tripline};

/// Two weeks of one account at home.
fn history() -> String {
    let day =
        |it: u32| format!("2025-04-{it:02} 08:00:00 | 192.0.2.10 | ann@example.com | United States | Login success\n");
    (1..=16).map(day).collect()
}

const ABROAD: &str = "2025-04-17 08:00:00 | 203.0.113.9 | ann@example.com | Brazil | Login success\n";

/// What the rule says of one line, and the summary.
fn check(args: &[&str], alerts: usize, said: &str) {
    let done = tripline(&[&["replay", "--output", "ndjson", "--firing-only", "--rule", "new-country"], args].concat())
        .succeeds();
    assert_eq!(done.stdout.lines().count(), alerts, "{}", done.stdout);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[test]
fn history_teaches_and_tells_nothing() {
    let folder = Folder::new();
    let (past, now) = (folder.write("past.log", history().as_bytes()), folder.write("now.log", ABROAD.as_bytes()));
    check(&[&now], 0, "0 alerts");
    check(&["--learn-from", &past, &now], 1, "learned from 16 events for 1 rules");
    // What history itself shows was told to nobody, and is known afterwards.
    let both = folder.write("both.log", format!("{}{ABROAD}{}", history(), ABROAD.replace("-17", "-18")).as_bytes());
    let later = folder.write("later.log", ABROAD.replace("-17", "-19").as_bytes());
    check(&["--learn-from", &both, &later], 0, "learned from 18 events");
    let config = format!("(learn: (from: [{past:?}]))");
    check(&["--config", &folder.write("tripline.ron", config.as_bytes()), &now], 1, "learned from 16 events");
    tripline(&["replay", "--learn-from", "/nowhere.log", &now]).exits(3);
}

#[test]
fn a_service_learns_once_and_remembers() {
    let folder = Folder::new();
    let (past, now) = (folder.write("past.log", history().as_bytes()), folder.write("now.log", ABROAD.as_bytes()));
    let config = format!("(sources: [File(path: {now:?})], state: Dir({:?}))", folder.path("state"));
    let config = folder.write("tripline.ron", config.as_bytes());
    let run = || tripline(&["run", "--config", &config, "--rule", "new-country", "--learn-from", &past]).succeeds();
    let first = run();
    assert!(first.stderr.contains("learned from 16 events"), "{}", first.stderr);
    assert!(first.stdout.contains("new-country"), "{}", first.stdout);
    let second = run();
    assert!(!second.stderr.contains("learned"), "{}", second.stderr);
}

#[test]
fn what_one_service_learned_another_begins_with() {
    let folder = Folder::new();
    let (past, now) = (folder.write("past.log", history().as_bytes()), folder.write("now.log", ABROAD.as_bytes()));
    let configured = |name: &str, log: &str| {
        let config = format!("(sources: [File(path: {log:?})], state: Dir({:?}))", folder.path(name));
        folder.write(&format!("{name}.ron"), config.as_bytes())
    };
    let both = folder.write("both.log", format!("{ABROAD}{}", ABROAD.replace("-17", "-18")).as_bytes());
    let (here, there) = (configured("here", &past), configured("there", &both));
    let rule = ["--rule", "new-country"];
    let run = |config: &str, args: &[&str]| tripline(&[&["run", "--config", config], &rule[..], args].concat());
    let told = run(&here, &[]).succeeds().stdout;
    assert!(told.is_empty(), "{told}");
    let learned = folder.path("learned");
    let export = |config: &str| {
        tripline(&[&["state", "export-learned", "--to", &learned, "--config", config], &rule[..]].concat()).succeeds()
    };
    let exported = export(&here);
    assert!(exported.stdout.contains("what 1 rules learned"), "{}", exported.stdout);
    // A replay, and a service with an empty state, know what is usual for the account; without it, nobody does.
    check(&[&now], 0, "0 alerts");
    check(&["--learn-from", &learned, &now], 1, "took what was learned elsewhere for 1 rules");
    let told = run(&there, &["--learn-from", &learned]).succeeds().stdout;
    assert!(told.contains("new-country"), "{told}");
    // What the other one learned since goes on in its turn.
    let again = export(&there);
    assert!(again.stdout.contains("what 1 rules learned"), "{}", again.stdout);
    let known = ABROAD.replace("-17", "-19");
    check(
        &["--learn-from", &learned, &folder.write("known.log", known.as_bytes())],
        0,
        "took what was learned elsewhere",
    );
    std::fs::write(&learned, &std::fs::read(&learned).unwrap()[..40]).unwrap();
    tripline(&["replay", "--learn-from", &learned, &now]).exits(3);
}

#[test]
fn a_rule_in_the_shadow_is_counted_and_told_to_nobody() {
    let folder = Folder::new();
    let rule = |shadow: &str| {
        format!(
            r#"Rule(id: "any-login", title: "login", severity: High, {shadow} when: Eq("activity", "login.success"), by: ["user.name"], detect: Each)"#
        )
    };
    let log = folder.write("now.log", ABROAD.as_bytes());
    for (shadow, alerts, said) in
        [("", 1, "any-login        1 alerts"), ("shadow: true,", 0, "any-login  1 alerts in the shadow, not told")]
    {
        let rules = folder.write("rules/any.ron", rule(shadow).as_bytes());
        let args = ["replay", "--rules", &rules, "--rule", "any-login", "--output", "ndjson", "--firing-only", &log];
        let done = tripline(&args).succeeds();
        assert_eq!(done.stdout.lines().count(), alerts, "{}", done.stdout);
        assert!(done.stderr.contains(said), "{}", done.stderr);
        let listed = tripline(&["rules", "--rules", &rules, "--rule", "any-login", "--output", "ndjson"]).succeeds();
        assert!(listed.stdout.contains(&format!("\"shadow\":{}", alerts == 0)), "{}", listed.stdout);
    }
}
