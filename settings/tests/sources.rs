//! What counts when several say something, what is refused and how, and what a reload changes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pkgtorrent_settings::{Configuration, Wrong, wrong};
use serde::Deserialize;

pkgtorrent_settings::keys! {
    /// Counted.
    apples: u64 = "1" => Reload,
    /// In each box.
    pears: u32 = "2" => Restart,
    /// Who eats them.
    guests: Vec<String> = "[]" => Reload,
    /// Where they are kept.
    cellar: PathBuf = r#""/cellar""# => Restart,
    /// How they are made.
    taste: Taste = r#""sweet""# => Reload,
    /// Where the market is.
    market: String = r#""""# => Reload,
    /// Who brings how many.
    basket: Basket = "{ weight = 1 }" => Reload,
    /// Who sits beside whom.
    tables: BTreeMap<String, Vec<(String, String)>> = "{}" => Reload,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Taste {
    Sweet,
    Sour,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basket {
    #[serde(default)]
    weight: u64,
}

fn settle(keys: Keys) -> Result<Keys, Wrong> {
    match keys.apples {
        Some(0) => Err(wrong("apples", "0 is not between 1 and 9")),
        _ if keys.market.as_deref() == Some("http://a:secret@b/") => {
            Err(wrong("market", "\"http://a:secret@b/\" is shut"))
        }
        _ => Ok(keys),
    }
}

#[derive(Default)]
struct Said<'a> {
    file: &'a str,
    drop_in: &'a str,
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [(&'static str, &'a str)],
}

fn taken(said: &Said) -> Result<Configuration<Keys>, String> {
    let mut configuration = Configuration::<Keys>::default();
    let variables = said.variables.iter().map(|(name, text)| (OsString::from(name), OsString::from(text)));
    (|| {
        configuration.take_text(Path::new("/etc/fruit.toml"), said.file)?;
        configuration.take_text(Path::new("/etc/fruit.toml.d/site.toml"), said.drop_in)?;
        configuration.take_variables("FRUIT_", variables)?;
        for (key, text) in said.flags {
            configuration.take_flag("--flag", key, Some(*text))?;
        }
        configuration.settle(settle)
    })()
    .map_err(|error| error.to_string())?;
    Ok(configuration)
}

fn of_file(file: &str) -> Result<Configuration<Keys>, String> {
    taken(&Said { file, ..Said::default() })
}

fn refusal(said: &Said) -> String {
    taken(said).expect_err("refused")
}

#[test]
fn each_source_counts_more_than_those_before_it() {
    let said = Said {
        file: "market = \"file\"\ntaste = \"sour\"\napples = 3\nbasket.weight = 7",
        drop_in: "\n\nmarket = \"drop-in\"\ntaste = \"sweet\"\napples = 4",
        variables: &[("FRUIT_MARKET", "variable"), ("FRUIT_TASTE", "sour")],
        flags: &[("market", "flag")],
    };
    let listing = taken(&said).expect("taken").listing();
    assert_eq!(
        listing.lines().collect::<Vec<_>>(),
        [
            "apples = 4  # /etc/fruit.toml.d/site.toml:5",
            "pears = 2  # default",
            "guests = []  # default",
            "cellar = \"/cellar\"  # default",
            "taste = \"sour\"  # FRUIT_TASTE",
            "market = \"flag\"  # --flag",
            "basket = { weight = 7 }  # /etc/fruit.toml:4",
            "tables = {}  # default",
        ]
    );
    assert_eq!(
        of_file(&listing).expect("what is shown is a file").listing().matches("/etc/fruit.toml:").count(),
        8
    );
}

#[test]
fn a_default_may_depend_on_the_place() {
    let mut configuration = Configuration::<Keys>::default();
    configuration.take_default("cellar", "/home/cellar").expect("taken");
    assert!(configuration.listing().contains("cellar = \"/home/cellar\"  # default\n"));
    let settled = configuration.settle(settle).expect("settles");
    assert_eq!(settled.cellar, Some("/home/cellar".into()));
}

#[test]
fn the_listing_is_there_as_json_too() {
    let json = of_file("basket = { weight = 7 }").expect("taken").json();
    let expected = r#"{"value":{"weight":7},"from":"/etc/fruit.toml:1"}"#;
    assert_eq!(json["basket"], serde_json::from_str::<serde_json::Value>(expected).expect("JSON"));
    assert_eq!(json["apples"]["from"], "default");
    assert_eq!(json.as_object().expect("an object").len(), KEY_DOCS.len());
}

#[test]
fn a_variable_is_written_as_in_the_file_and_a_text_without_quotes() {
    let read = |name: &str, text: &str| {
        let variables = &[(name, text)];
        taken(&Said { variables, ..Said::default() }).expect("taken").settle(settle).expect("settles")
    };
    assert_eq!(read("FRUIT_APPLES", "0x10").apples, Some(16));
    assert_eq!(read("FRUIT_MARKET", "down town").market.as_deref(), Some("down town"));
    assert_eq!(read("FRUIT_MARKET", "\"quoted\"").market.as_deref(), Some("quoted"));
    assert_eq!(read("FRUIT_MARKET", "5").market.as_deref(), Some("5"));
    assert_eq!(read("FRUIT_MARKET", "").market.as_deref(), Some(""));
    assert_eq!(read("FRUIT_GUESTS", "['a', 'b']").guests, Some(vec!["a".into(), "b".into()]));
    assert_eq!(read("FRUIT_BASKET", "{ weight = 3 }").basket, Some(Basket { weight: 3 }));
}

#[test]
fn variables_that_are_not_ours_are_left_alone() {
    let strangers = &[
        ("FRUIT_SERVICE_HOST", "10.0.0.1"),
        ("FRUIT_PORT", "tcp://10.0.0.1:80"),
        ("FRUIT_", ""),
        ("APPLES", "many"),
        ("fruit_apples", "many"),
    ];
    assert!(taken(&Said { variables: strangers, ..Said::default() }).is_ok());
    let bytes = [("FRUIT_MARKET".into(), OsString::from_vec(vec![0xff]))];
    let error = Configuration::<Keys>::default().take_variables("FRUIT_", bytes).expect_err("refused");
    assert_eq!(error.to_string(), "FRUIT_MARKET: market: expected UTF-8, found other bytes");
}

#[test]
fn what_is_wrong_in_a_file_is_refused_with_its_line_and_what_is_right() {
    for (file, expected) in [
        ("\nplums = 2", "2: there is no key \"plums\"; did you mean pears?"),
        ("apples = 1\npaers = 2", "2: there is no key \"paers\"; did you mean pears?"),
        ("[apple]\nx = 1", "1: there is no key \"apple\"; did you mean apples?"),
        (
            "apples = \"two\"",
            "1: apples: expected a whole number, 0 or more, found \"two\"; the default is 1",
        ),
        ("apples = -1", "1: apples: expected a whole number, 0 or more, found -1; the default is 1"),
        ("apples = 1.5", "1: apples: expected a whole number, 0 or more, found 1.5; the default is 1"),
        (
            "pears = 5000000000",
            "1: pears: expected a whole number from 0 to 4294967295, found 5000000000; the default is 2",
        ),
        ("guests = \"me\"", "1: guests: expected a list, found \"me\"; the default is []"),
        ("guests = [\n\"me\",\n 7,\n]", "3: guests: expected a text in quotes, found 7; the default is []"),
        ("cellar = 1", "1: cellar: expected a path in quotes, found 1; the default is \"/cellar\""),
        (
            "taste = \"salty\"",
            "1: taste: expected \"sweet\" or \"sour\", found \"salty\"; the default is \"sweet\"",
        ),
        ("market = [\"x\"]", "1: market: expected a text in quotes, found [\"x\"]; the default is \"\""),
        ("basket = 5", "1: basket: expected a table, found 5; the default is { weight = 1 }"),
        (
            "[basket]\nweight = \"x\"",
            "2: basket: expected a whole number, 0 or more, found \"x\"; the default is { weight = 1 }",
        ),
        (
            "[basket]\nwieght = 1",
            "2: basket: expected \"weight\", found wieght; the default is { weight = 1 }",
        ),
        ("tables.a = [[\"x\"]]", "1: tables: expected a list of two, found [\"x\"]; the default is {}"),
        ("apples = 1\napples = 2", "2: this is no TOML: duplicate key"),
        ("\napples", "2: this is no TOML: key with no value, expected `=`"),
        ("\n\napples = 0", "3: apples: 0 is not between 1 and 9"),
        ("market = \"http://a:secret@b/\"", "1: market: \"http://a:***@b/\" is shut"),
    ] {
        assert_eq!(
            refusal(&Said { file, ..Said::default() }),
            format!("/etc/fruit.toml:{expected}"),
            "{file}"
        );
    }
    let said = Said { file: "apples = 2", drop_in: "\npears = []", ..Said::default() };
    assert!(refusal(&said).starts_with("/etc/fruit.toml.d/site.toml:2: pears: "), "{}", refusal(&said));
    let long = format!("apples = \"{}\"", "é".repeat(500));
    assert!(refusal(&Said { file: &long, ..Said::default() }).len() < 300);
}

#[test]
fn what_is_wrong_in_a_variable_or_flag_is_refused_by_its_name() {
    for (name, text, expected) in [
        (
            "FRUIT_APPLES",
            "two",
            "apples: expected a whole number, 0 or more, found \"two\"; the default is 1",
        ),
        ("FRUIT_APPLES", "-1", "apples: expected a whole number, 0 or more, found -1; the default is 1"),
        ("FRUIT_APPLES", "0", "apples: 0 is not between 1 and 9"),
        ("FRUIT_GUESTS", "me", "guests: expected a list, found \"me\"; the default is []"),
        ("FRUIT_GUESTS", "[1]", "guests: expected a text in quotes, found 1; the default is []"),
        ("FRUIT_APLES", "1", "is no variable; did you mean FRUIT_APPLES?"),
        ("FRUIT_Apples", "1", "is no variable; did you mean FRUIT_APPLES?"),
    ] {
        let variables = &[(name, text)];
        assert_eq!(refusal(&Said { variables, ..Said::default() }), format!("{name}: {expected}"));
    }
    let flags = &[("taste", "salty")];
    let expected = "--flag: taste: expected \"sweet\" or \"sour\", found \"salty\"; the default is \"sweet\"";
    assert_eq!(refusal(&Said { flags, ..Said::default() }), expected);
}

#[test]
fn what_is_refused_is_the_value_that_counts() {
    let said = Said { file: "apples = 0", variables: &[("FRUIT_APPLES", "3")], ..Said::default() };
    assert!(taken(&said).is_ok());
    let said =
        Said { file: "apples = \"no number\"", variables: &[("FRUIT_APPLES", "3")], ..Said::default() };
    assert!(
        refusal(&said).starts_with("/etc/fruit.toml:1: "),
        "a file that makes no sense is told of at once"
    );
}

#[test]
fn a_password_is_not_shown() {
    let configuration = of_file("market = \"http://me:secret@there/\"").expect("taken");
    assert!(configuration.listing().contains("market = \"http://me:***@there/\""));
    assert!(!configuration.json().to_string().contains("secret"));
    let many = of_file("guests = [\"http://me:secret@there\", \"you@there\"]").expect("taken").listing();
    assert!(many.contains("guests = [\"http://me:***@there\", \"you@there\"]"), "{many}");
    let changed = of_file("").expect("taken").reload(configuration).changed;
    assert_eq!(changed, ["market = \"http://me:***@there/\", was \"\" (/etc/fruit.toml:1)"]);
}

#[test]
fn a_reload_takes_what_can_change_and_keeps_the_rest() {
    let running = of_file("apples = 2\npears = 5\nguests = [\"a\"]").expect("taken");
    let other = of_file("apples = 3\ncellar = \"/new\"\nguests = [ 'a' ]").expect("taken");
    let reloaded = running.reload(other);
    assert_eq!(reloaded.changed, ["apples = 3, was 2 (/etc/fruit.toml:1)"]);
    let deferred = ["pears = 2, was 5 (default)", "cellar = \"/new\", was \"/cellar\" (/etc/fruit.toml:2)"];
    assert_eq!(reloaded.deferred, deferred);
    let keys = reloaded.configuration.settle(settle).expect("settles");
    assert_eq!((keys.apples, keys.pears, keys.cellar), (Some(3), Some(5), None));
    let again = reloaded.configuration.reload(of_file("apples = 3\npears = 5").expect("taken"));
    assert_eq!((again.changed.len(), again.deferred.len()), (1, 0), "{:?}", again.changed);
}
