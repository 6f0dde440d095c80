//! What a package brings beside the program, by the programs that read it: the manual by man, the
//! completions by their shells. That they have every command and option is a test in `src/cli.rs`.

use std::process::Command;

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(output.status.success(), "{program}: {text}");
    text
}

/// What a shell offers for a line, sorted.
fn offered(program: &str, script: &str) -> Vec<String> {
    let text = said(program, &["-c", script]);
    let mut words: Vec<String> =
        text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
    words.sort();
    words
}

#[test]
fn man_finds_nothing_wrong_with_the_manual() {
    let script = "man --warnings -E UTF-8 -l -Tutf8 -Z docs/underpass.1 2>&1 >/dev/null";
    assert_eq!(said("sh", &["-c", script]), "");
    let text = said("man", &["-l", "-P", "cat", "docs/underpass.1"]);
    assert!(text.contains("underpass - many home servers behind one VPS"), "{text}");
}

#[test]
fn bash_and_fish_complete_a_line() {
    let bash = |line: &str| {
        let script = format!(
            "source config/completions/underpass.bash; COMP_WORDS=({line}); \
             [[ '{line}' != *' ' ]] || COMP_WORDS+=(''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _underpass; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        offered("bash", &script)
    };
    let fish = |line: &str| {
        let script = format!("source config/completions/underpass.fish; complete -C '{line}'");
        offered("fish", &script)
    };
    for (line, expected) in [
        ("underpass sta", &["status"][..]),
        ("underpass che", &["check"]),
        ("underpass init --a", &["--add"]),
        ("underpass init --di", &["--dir"]),
        ("underpass check --ag", &["--against"]),
        ("underpass status config/server.toml --w", &["--watch"]),
        ("underpass demo --o", &["--once"]),
        ("underpass check config/ser", &["config/server.toml"]),
        ("underpass --genk", &["--genkey"]),
        ("underpass --cli", &["--client"]),
        // Of another command.
        ("underpass check --wat", &[]),
        ("underpass status --ag", &[]),
    ] {
        let none = |found: Vec<String>| -> Vec<String> {
            found.into_iter().filter(|word| !word.is_empty()).collect()
        };
        assert_eq!(none(bash(line)), expected, "bash: {line}");
        assert_eq!(none(fish(line)), expected, "fish: {line}");
    }
}

/// zsh completes at a terminal alone; that it reads the file, and that its functions are called as
/// they are there, is all that is asked here.
#[test]
fn zsh_reads_its_completion() {
    said("zsh", &["-n", "config/completions/underpass.zsh"]);
    // Stand-ins say what they are called with.
    let script = "_describe() { print -l -- ${(P)2} }; _arguments() { print -rl -- \"$@\" }; \
                  run() { words=(\"$@\"); CURRENT=$#; source config/completions/underpass.zsh }; \
                  run underpass s; print NEXT; run underpass init x; print NEXT; \
                  run underpass status x";
    let text = said("zsh", &["-fc", &format!("f() {{ {script} }}; f")]);
    let [first, init, status] = text.split("NEXT\n").collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    assert!(first.contains("status:") && first.contains("--genkey"), "{first}");
    assert!(
        init.contains("--add[") && init.contains("--dir[") && !init.contains("--json"),
        "{init}"
    );
    assert!(status.contains("--json[") && status.contains("--watch["), "{status}");
}
