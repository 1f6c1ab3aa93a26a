//! Handles to metrics. One is looked up by its name once, so that counting costs an addition.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram, Key, Label, Level, Metadata};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use pkgtorrent_settings::MetricKind;

/// A metric's name, and its one series once that was looked up.
pub(crate) struct Named<H> {
    name: &'static str,
    handle: OnceLock<H>,
}

/// Counts up.
pub(crate) type Count = Named<Counter>;

/// Is what it is now.
pub(crate) type Gauge = Named<metrics::Gauge>;

/// Times, by how long they were.
pub(crate) type Times = Named<Histogram>;

/// A metric with labels, and their names.
pub(crate) struct Labelled<H> {
    name: &'static str,
    labels: &'static [&'static str],
    look_up: fn(&Key) -> H,
}

/// Counts up, by labels.
pub(crate) type CountBy = Labelled<Counter>;

/// Is what it is now, by labels.
pub(crate) type GaugeBy = Labelled<metrics::Gauge>;

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn counter(key: &Key) -> Counter {
    metrics::with_recorder(|recorder| recorder.register_counter(key, &METADATA))
}

fn gauge(key: &Key) -> metrics::Gauge {
    metrics::with_recorder(|recorder| recorder.register_gauge(key, &METADATA))
}

fn histogram(key: &Key) -> Histogram {
    metrics::with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
}

impl<H> Named<H> {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, handle: OnceLock::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    fn get(&self, look_up: fn(&Key) -> H) -> &H {
        self.handle.get_or_init(|| look_up(&Key::from_static_name(self.name)))
    }
}

impl Count {
    pub(super) const KIND: MetricKind = MetricKind::Counter;

    pub(super) fn describe(&self, meaning: &'static str) {
        describe_counter!(self.name, meaning);
        self.add(0);
    }

    pub(crate) fn add(&self, more: u64) {
        self.get(counter).increment(more);
    }

    /// Takes over what is counted elsewhere.
    pub(crate) fn set(&self, all: u64) {
        self.get(counter).absolute(all);
    }

    /// What others may count with.
    pub(crate) fn handle(&self) -> Counter {
        self.get(counter).clone()
    }
}

impl Gauge {
    pub(super) const KIND: MetricKind = MetricKind::Gauge;

    pub(super) fn describe(&self, meaning: &'static str) {
        describe_gauge!(self.name, meaning);
    }

    pub(crate) fn set(&self, now: f64) {
        self.get(gauge).set(now);
    }
}

impl Times {
    pub(super) const KIND: MetricKind = MetricKind::Histogram;

    pub(super) fn describe(&self, meaning: &'static str) {
        describe_histogram!(self.name, meaning);
    }

    pub(crate) fn took(&self, time: Duration) {
        self.get(histogram).record(time.as_secs_f64());
    }
}

impl<H> Labelled<H> {
    /// The series with these values of its labels.
    pub(crate) fn at<const N: usize>(&self, values: &[&str; N]) -> H {
        assert_eq!(N, self.labels.len(), "{} has another number of labels", self.name);
        let labels =
            self.labels.iter().zip(values).map(|(&name, value)| Label::new(name, (*value).to_owned()));
        (self.look_up)(&Key::from_parts(self.name, labels.collect::<Vec<_>>()))
    }
}

impl CountBy {
    pub(super) const KIND: MetricKind = MetricKind::Counter;

    pub(super) const fn new(name: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, labels, look_up: counter }
    }

    pub(super) fn describe(&self, meaning: &'static str) {
        describe_counter!(self.name, meaning);
    }
}

impl GaugeBy {
    pub(super) const KIND: MetricKind = MetricKind::Gauge;

    pub(super) const fn new(name: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, labels, look_up: gauge }
    }

    pub(super) fn describe(&self, meaning: &'static str) {
        describe_gauge!(self.name, meaning);
    }
}
