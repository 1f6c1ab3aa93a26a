//! What the agent is asked for, and what is made of its answers.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use pkgtorrent_protocol::PackageDigest;
use pkgtorrent_protocol::control::FetchRequest;
use pkgtorrent_protocol::socket::{Answer, Need, Request, Want};

use super::placing::{Passed, Placing};
use super::report::Report;
use super::request::nearest_directory;
use crate::control::client::{Connection, LostError};
use crate::settings::Service;

/// What is asked of the agent. Its wants are those packages of the request that are not in place.
pub(super) struct Question {
    services: Vec<String>,
    wants: Vec<Want>,
    needs: Vec<Need>,
    /// Which package of the request each want is.
    indices: Vec<usize>,
}

/// The question for what is not in place and has a service; the rest is failed.
pub(super) fn question(request: &FetchRequest, service: &Service, report: &Report) -> Question {
    let (services, of_packages) = super::services(&request.packages, service);
    let mut question = Question { services, wants: Vec::new(), needs: Vec::new(), indices: Vec::new() };
    for (index, (package, service)) in request.packages.iter().zip(of_packages).enumerate() {
        if report.is_over(index) {
            continue;
        }
        match service {
            Ok(service) => {
                let (digest, size, name) = (package.digest, package.size, package.name.clone());
                question.wants.push(Want { digest, size, service, name });
                question.indices.push(index);
                question.need(nearest_directory(package.dest.as_ref()).as_ref(), size, true);
            }
            Err(reason) => report.failed(index, &reason),
        }
    }
    if let Some(reserve) = &request.reserve {
        let inside = Path::new(&reserve.path).join("x");
        question.need(&nearest_directory(&inside), reserve.bytes, false);
    }
    question
}

impl Question {
    /// Whether there is nothing to ask for.
    pub(super) fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// The first package of the request that is asked for.
    pub(super) fn first(&self) -> usize {
        self.indices[0]
    }

    /// The packages that each service is asked for, by their index in the request.
    pub(super) fn by_service(&self) -> Vec<(&str, Vec<(usize, PackageDigest)>)> {
        let of = |nth: usize| {
            let wants = self.indices.iter().zip(&self.wants).filter(move |(_, want)| want.service == nth);
            wants.map(|(index, want)| (*index, want.digest)).collect()
        };
        self.services.iter().enumerate().map(|(nth, service)| (service.as_str(), of(nth))).collect()
    }

    /// All of it is left to the package manager.
    pub(super) fn fail_all(&self, report: &Report, reason: &str) {
        for index in &self.indices {
            report.failed(*index, reason);
        }
    }

    fn need(&mut self, directory: &Path, bytes: u64, copies: bool) {
        let Ok(metadata) = directory.metadata() else { return };
        let device = metadata.dev();
        match self.needs.iter_mut().find(|need| need.device == device && need.copies == copies) {
            Some(need) => need.bytes = need.bytes.saturating_add(bytes),
            None => self.needs.push(Need { device, bytes, copies }),
        }
    }

    fn request(&self) -> Request {
        let (services, wants, needs) = (self.services.clone(), self.wants.clone(), self.needs.clone());
        Request::Fetch { services, wants, needs }
    }
}

/// Asks the agent and places what it passes, until everything is reported.
pub(super) fn ask(
    mut connection: Connection,
    question: &Question,
    request: &FetchRequest,
    report: &Arc<Report>,
) {
    let placing = match Placing::start(&connection.sender(), report) {
        Ok(placing) => placing,
        Err(error) => return question.fail_all(report, &format!("starting a thread: {error}")),
    };
    let reason = match converse(&mut connection, question, request, report, &placing) {
        Ok(()) => "the agent forgot it".to_owned(),
        Err(reason) => reason,
    };
    placing.finish();
    question.fail_all(report, &reason);
}

fn converse(
    connection: &mut Connection,
    question: &Question,
    request: &FetchRequest,
    report: &Report,
    placing: &Placing,
) -> Result<(), String> {
    let lost = |error: LostError| error.to_string();
    connection.send(&question.request()).map_err(lost)?;
    while report.is_read() {
        let (answer, file) = connection.next().map_err(lost)?;
        let index_of = |want: usize| {
            question.indices.get(want).copied().ok_or_else(|| format!("the agent speaks of package {want}"))
        };
        match (answer, file) {
            (Answer::Progress { index, done }, _) => report.progress(index_of(index)?, done),
            (Answer::Waiting { index, reason }, _) => report.waiting(index_of(index)?, reason),
            (Answer::Failed { index, reason }, _) => report.failed(index_of(index)?, &reason),
            (Answer::Whole { index: want, from }, Some(file)) => {
                let index = index_of(want)?;
                let package = request.packages[index].clone();
                placing.place(Passed { want, index, package, from, file: File::from(file) });
            }
            (Answer::Refused { reason }, _) => return Err(format!("the agent refused: {reason}")),
            (Answer::End, _) => return Ok(()),
            _ => {}
        }
    }
    Err("nobody reads the events".into())
}
