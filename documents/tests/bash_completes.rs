//! A shell that has read the installed completions knows commands and options.

use std::path::Path;
use std::process::Command;

/// What bash offers for the last of these words.
fn offered(program: &str, words: &str) -> String {
    let scripts =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/usr/share/bash-completion/completions");
    // As bash does it after a Tab: the function gets the program, the word, and the word before it.
    let press_tab = r#"
        source "$1/$2"
        COMP_WORDS=("$2" $3)
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        function=$(complete -p "$2" | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function" "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", press_tab, "bash"]).arg(scripts).args([program, words]);
    let output = bash.output().expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered("pkgtorrent", "fe"), "fetch");
    assert_eq!(offered("pkgtorrent", "store ve"), "verify");
    assert_eq!(offered("pkgtorrent", "fetch --ev"), "--events");
    assert_eq!(offered("pkgtorrent", "fetch --events l"), "lines");
    assert_eq!(offered("pkgtorrent-service", "ch"), "check");
    assert_eq!(offered("pkgtorrent-service", "config --j"), "--json");
}
