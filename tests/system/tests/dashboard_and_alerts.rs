//! The dashboard and the alerts ask for metrics, labels and values that there are: one that is misspelt would show nothing, and
//! never fire.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::process::Command;
use std::time::Duration;

use pkgtorrent_system_tests::site::Site;
use pkgtorrent_system_tests::watched::{BUCKET_LABEL, Served, repository_file};
use pkgtorrent_test_support::process::wait_for;
use pkgtorrent_test_support::{Agent, Package, http};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

const DASHBOARD: &str = "packaging/usr/share/pkgtorrent-service/grafana/pkgtorrent-service.json";
const RULES: &str = "packaging/usr/share/pkgtorrent-service/prometheus/pkgtorrent-service.rules.yml";

/// Labels that Prometheus gives to everything that it collects.
const OF_TARGETS: [&str; 2] = ["instance", "job"];

/// How long an agent's report may take: it goes with the next announce.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);

/// What a service and two agents show, one of which had something from each source, and something left to its package
/// manager.
fn served() -> Served {
    let site = Site::start_apart(&[("a.rpm", 400_000), ("b.rpm", 2_000_000)], "announce_interval = 1\n");
    let hosts = [(); 2].map(|()| Agent::with_config("metrics_listen = \"0\"\n"));
    let fetch = |host: &Agent, packages: &[Package]| {
        host.fetch(&site.service.url("/"), &host.wants(packages));
    };
    fetch(&hosts[0], &site.packages);
    fetch(&hosts[1], &site.packages);
    fetch(&hosts[1], &Site::start_apart(&[("unknown.rpm", 1_000)], "").packages);
    http::get(site.service.addr(), "/pkgtorrent/v1/sets/nonsense").expect_status(404);
    let of_agent = |host: &Agent| {
        let log = host.log();
        let (_, after) = log.split_once("metrics are at http://").expect("an address in the log");
        Served::get(after.split_once("/metrics").expect("a URL").0.parse().expect("an address"))
    };
    let of_service = wait_for("the reports of both hosts", REPORTED_WITHIN, || {
        let served = Served::get(site.service.addr());
        let sum = |name| served.sum(name, None);
        let is_told = sum("pkgtorrent_fleet_installs_total") >= 3.0
            && sum("pkgtorrent_fleet_fallback_packages_total") >= 1.0;
        is_told.then_some(served)
    });
    of_service.with(of_agent(&hosts[0])).with(of_agent(&hosts[1]))
}

#[test]
fn every_expression_is_about_what_there_is() {
    let served = served();
    let dashboard = expressions_of_dashboard();
    let rules: Vec<String> = rules().iter().map(|rule| text(rule, "expr")).collect();
    assert!(dashboard.len() > 40 && rules.len() > 5, "{} and {}", dashboard.len(), rules.len());
    let problems: Vec<String> =
        dashboard.iter().chain(&rules).flat_map(|expression| problems(expression, &served)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for metric in variables() {
        assert!(served.metrics.contains_key(&metric), "{metric}");
    }
}

#[test]
fn what_is_misspelt_is_seen() {
    let served = served();
    for right in [
        "pkgtorrent_ready == 0",
        "sum by (le) (rate(pkgtorrent_plan_seconds_bucket{instance=~\"$service\"}[5m]))",
        "sum by (source) (rate(pkgtorrent_fleet_bytes_total{source=~\"near|far\"}[5m])) > 0",
    ] {
        assert_eq!(problems(right, &served), [""; 0], "{right}");
    }
    for wrong in [
        "pkgtorrent_redy",
        "pkgtorrent_plan_seconds",
        "sum(rate(pkgtorrent_requests_total{code=\"5xx\"}[5m]))",
        "sum(rate(pkgtorrent_requests_total{status=\"500\"}[5m]))",
        "rate(pkgtorrent_fleet_bytes_total{source=~\"near|distant\"}[5m])",
        "sum by (sites) (rate(pkgtorrent_fleet_bytes_total[5m]))",
        "1 + sum by (le) (rate(pkgtorrent_plans_total[5m]))",
        "rate(pkgtorrent_plans_total)",
        "sum(pkgtorrent_ready",
    ] {
        assert_ne!(problems(wrong, &served), [""; 0], "{wrong}");
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    let rules = rules();
    let names: BTreeSet<String> = rules.iter().map(|rule| text(rule, "alert")).collect();
    assert_eq!(names.len(), rules.len(), "{names:?}");
    for rule in &rules {
        let name = text(rule, "alert");
        assert!(["warning", "critical"].contains(&text(&rule["labels"], "severity").as_str()), "{name}");
        let annotations = &rule["annotations"];
        assert!(text(annotations, "summary").contains("{{ $labels.instance }}: "), "{name}");
        assert!(text(annotations, "description").len() > 60, "{name}");
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}")).to_owned()
}

fn rules() -> Vec<Value> {
    let to_json = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", to_json]).arg(repository_file(RULES)).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_slice(&fs::read(repository_file(DASHBOARD)).expect(DASHBOARD)).expect("JSON")
}

/// The dashboard's expressions, with spans of time for what Grafana puts there.
fn expressions_of_dashboard() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|it| text(it, "expr").replace("$__rate_interval", "5m").replace("$__range", "6h")).collect()
}

/// The metrics that its variables are filled from.
fn variables() -> Vec<String> {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    let definitions = variables.filter_map(|variable| variable["definition"].as_str());
    let metric = |it: &str| Some(it.strip_prefix("label_values(")?.split_once(',')?.0.to_owned());
    definitions.map(|it| metric(it).expect(it)).collect()
}

/// What is wrong with an expression.
fn problems(expression: &str, served: &Served) -> Vec<String> {
    let parsed = match parser::parse(expression) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("{expression}: {error}")],
    };
    let mut looking = Looking { served, problems: Vec::new() };
    let Ok(_) = walk_expr(&mut looking, &parsed);
    looking.problems.iter().map(|problem| format!("{expression}: {problem}")).collect()
}

struct Looking<'a> {
    served: &'a Served,
    problems: Vec<String>,
}

impl ExprVisitor for Looking<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Infallible> {
        match expression {
            Expr::VectorSelector(selector) => self.look_at(selector),
            Expr::MatrixSelector(matrix) => self.look_at(&matrix.vs),
            Expr::Aggregate(aggregate) => {
                let grouping = aggregate.modifier.as_ref().map(|it| it.labels().labels.clone());
                let known = labels_below(&aggregate.expr, self.served);
                let unknown = grouping.into_iter().flatten().filter(|label| !known.contains(label));
                self.problems.extend(unknown.map(|label| format!("nothing has the label {label}")));
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Looking<'_> {
    fn look_at(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        if self.served.series_of(name, None).next().is_none() {
            self.problems.push(format!("there is no {name:?}"));
        }
        for matcher in &selector.matchers.matchers {
            self.look_at_matcher(name, matcher);
        }
    }

    fn look_at_matcher(&mut self, name: &str, matcher: &Matcher) {
        let Matcher { op, name: label, value } = matcher;
        if OF_TARGETS.contains(&label.as_str()) {
            return;
        }
        let values: Vec<&str> = match op {
            MatchOp::Equal | MatchOp::NotEqual => vec![value],
            MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
        };
        for value in values {
            if self.served.series_of(name, Some((label, value))).next().is_none() {
                self.problems.push(format!("no {name} has {label}={value:?}"));
            }
        }
    }
}

/// The labels of all that is selected in an expression.
fn labels_below(expression: &Expr, served: &Served) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl ExprVisitor for Names {
        type Error = Infallible;
        fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Infallible> {
            match expression {
                Expr::VectorSelector(selector) => self.0.extend(selector.name.clone()),
                Expr::MatrixSelector(matrix) => self.0.extend(matrix.vs.name.clone()),
                _ => {}
            }
            Ok(true)
        }
    }
    let mut names = Names(BTreeSet::new());
    let Ok(_) = walk_expr(&mut names, expression);
    let series = served.series.iter().filter(|series| names.0.contains(&series.name));
    let labels = series.flat_map(|series| series.labels.keys().cloned());
    let is_bucket = names.0.iter().any(|name| name.ends_with("_bucket"));
    let bucket = is_bucket.then(|| BUCKET_LABEL.to_owned());
    labels.chain(OF_TARGETS.map(str::to_owned)).chain(bucket).collect()
}
