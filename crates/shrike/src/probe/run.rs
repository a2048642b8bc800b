//! The course of one probe: requests one after the other, each waited for, all of it within a few seconds.

use super::search::Search;
use linux::{Echo, EchoReply};
use model::{ProbeOutcome, SendTrouble};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long it may take in all.
pub const MOST: Duration = Duration::from_secs(8);
/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a further one is waited for at least: paths have their moods.
const SHORTEST: Duration = Duration::from_millis(200);
/// So many requests at most.
const REQUESTS: u16 = 64;

/// What requests go through, and the time.
pub trait Path {
    /// Time since some moment.
    fn now(&self) -> Duration;
    /// The longest packet of the route, as far as this host knows.
    fn mtu(&self) -> Option<u32>;
    /// Sends a request in a packet of so many octets.
    ///
    /// # Errors
    /// The operating system's.
    fn send(&mut self, number: u16, length: u32) -> io::Result<()>;
    /// Waits for what comes back; `None` for nothing of interest, or when the time is over.
    ///
    /// # Errors
    /// The operating system's.
    fn wait(&mut self, most: Duration) -> io::Result<Option<EchoReply>>;
}

/// A socket and the daemon's clock.
pub struct Real<'a> {
    /// The socket.
    pub echo: Echo,
    /// The clock.
    pub clock: &'a crate::clock::Clock,
}

impl Path for Real<'_> {
    fn now(&self) -> Duration {
        self.clock.now().since(model::Instant::ZERO)
    }

    fn mtu(&self) -> Option<u32> {
        self.echo.mtu()
    }

    fn send(&mut self, number: u16, length: u32) -> io::Result<()> {
        self.echo.send(number, length)
    }

    fn wait(&mut self, most: Duration) -> io::Result<Option<EchoReply>> {
        self.echo.wait(most)
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// In one word.
    pub outcome: ProbeOutcome,
    /// How many requests were sent.
    pub sent: u32,
    /// How many answers came.
    pub answers: u32,
}

/// What one request came to.
enum Came {
    Answer,
    TooLong,
    Unreachable(Option<IpAddr>),
    Nothing,
}

struct Course<'a, P> {
    path: &'a mut P,
    search: Search,
    /// The length of each request, by its number from 1.
    lengths: Vec<u32>,
    answers: u32,
    round_trip: Option<Duration>,
    end: Duration,
}

/// Probes.
pub fn measure(path: &mut impl Path) -> Measured {
    let limit = path.mtu().unwrap_or(1500);
    let end = path.now() + MOST;
    let mut course =
        Course { path, search: Search::new(limit), lengths: Vec::new(), answers: 0, round_trip: None, end };
    let mut sent = 0;
    let mut unreachable = None;
    let mut refused = None;
    while let Some(length) = course.search.next() {
        if course.path.now() >= end || course.lengths.len() >= usize::from(REQUESTS) {
            break;
        }
        match course.send(length) {
            Ok(()) => {}
            Err(SendTrouble::TooLong) => {
                let most = course.path.mtu();
                course.search.too_long(length, most);
                continue;
            }
            // Short ones leave: it is the length, whatever the error is called.
            Err(_) if course.search.largest().is_some() => {
                course.search.silence(length);
                continue;
            }
            Err(trouble) => {
                refused = Some(trouble);
                break;
            }
        }
        sent += 1;
        match course.wait(length) {
            Came::Answer => {}
            Came::TooLong => {
                let most = course.path.mtu();
                course.search.too_long(length, most);
            }
            Came::Unreachable(by) => {
                unreachable = by.or(unreachable);
                course.search.silence(length);
            }
            Came::Nothing => course.search.silence(length),
        }
    }
    let (search, answers) = (&course.search, course.answers);
    let outcome = match (search.largest().zip(course.round_trip), refused) {
        (Some((largest, round_trip)), _) => ProbeOutcome::Answers {
            round_trip,
            largest,
            silent: search.silent(),
            limit: search.limit(),
            too_long: search.reports(),
        },
        (None, Some(trouble)) => ProbeOutcome::CannotSend(trouble),
        (None, None) => ProbeOutcome::NoAnswer { unreachable },
    };
    Measured { outcome, sent, answers }
}

impl<P: Path> Course<'_, P> {
    fn send(&mut self, length: u32) -> Result<(), SendTrouble> {
        self.lengths.push(length);
        let number = u16::try_from(self.lengths.len()).unwrap_or(u16::MAX);
        match self.path.send(number, length) {
            Ok(()) => Ok(()),
            // What only means to try again is waited for like a lost packet. So is one that was dropped further down: with the
            // kernel's ESP the interface's own refusal gets here as ENOBUFS.
            Err(error) => match linux::send_trouble(&error) {
                None | Some(SendTrouble::NoBuffers) => Ok(()),
                Some(trouble) => Err(trouble),
            },
        }
    }

    /// Waits for what comes of the request of this length, which is the last one.
    fn wait(&mut self, length: u32) -> Came {
        let begun = self.path.now();
        let patience = self.round_trip.map_or(PATIENCE, |time| (time * 4).clamp(SHORTEST, PATIENCE));
        let until = (begun + patience).min(self.end);
        loop {
            let now = self.path.now();
            if now >= until {
                return Came::Nothing;
            }
            match self.path.wait(until - now) {
                Ok(Some(EchoReply::Answer(number))) => {
                    let known = usize::from(number).checked_sub(1).and_then(|at| self.lengths.get(at)).copied();
                    let Some(answered) = known else { continue };
                    self.answers += 1;
                    if usize::from(number) == self.lengths.len() {
                        let time = self.path.now().saturating_sub(begun);
                        self.round_trip = Some(self.round_trip.map_or(time, |known| known.min(time)));
                    } else {
                        self.round_trip.get_or_insert(PATIENCE); // a late one: it took longer than that
                    }
                    self.search.answered(answered);
                    if answered >= length {
                        return Came::Answer;
                    }
                }
                Ok(Some(EchoReply::Report(SendTrouble::TooLong, _))) => return Came::TooLong,
                Ok(Some(EchoReply::Report(_, by))) => return Came::Unreachable(by),
                Ok(None) => {}
                Err(_) => return Came::Nothing,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A path with a delay that carries packets up to a length, and reports, or does not, what is longer.
    struct Simulated {
        now: Duration,
        delay: Duration,
        mtu: u32,
        passes: u32,
        reported_from: Option<u32>,
        refuses: Option<i32>,
        refused_above: u32,
        unreachable: bool,
        due: VecDeque<(Duration, EchoReply)>,
        sent: Vec<u32>,
    }

    impl Simulated {
        fn new(mtu: u32, passes: u32, delay: u64) -> Self {
            Self {
                now: Duration::from_secs(9),
                delay: Duration::from_millis(delay),
                mtu,
                passes,
                reported_from: None,
                refuses: None,
                refused_above: 0,
                unreachable: false,
                due: VecDeque::new(),
                sent: Vec::new(),
            }
        }
    }

    impl Path for Simulated {
        fn now(&self) -> Duration {
            self.now
        }

        fn mtu(&self) -> Option<u32> {
            Some(self.mtu)
        }

        fn send(&mut self, number: u16, length: u32) -> io::Result<()> {
            self.sent.push(length);
            if let Some(errno) = self.refuses.filter(|_| length > self.refused_above) {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if length > self.mtu {
                return Err(io::Error::from_raw_os_error(90)); // EMSGSIZE
            }
            let at = self.now + self.delay;
            let by = Some(IpAddr::from([10, 2, 0, 254]));
            if self.unreachable {
                self.due.push_back((at, EchoReply::Report(SendTrouble::HostUnreachable, by)));
            } else if let Some(from) = self.reported_from.filter(|from| length >= *from) {
                self.mtu = from - 1; // the kernel remembers what was reported
                self.due.push_back((at, EchoReply::Report(SendTrouble::TooLong, by)));
            } else if length <= self.passes {
                self.due.push_back((at, EchoReply::Answer(number)));
            }
            Ok(())
        }

        fn wait(&mut self, most: Duration) -> io::Result<Option<EchoReply>> {
            match self.due.pop_front_if(|(at, _)| *at <= self.now + most) {
                Some((at, reply)) => {
                    self.now = self.now.max(at);
                    Ok(Some(reply))
                }
                None => {
                    self.now += most;
                    Ok(None)
                }
            }
        }
    }

    fn answers(round_trip: u64, largest: u32, silent: Option<u32>, limit: u32, too_long: u32) -> ProbeOutcome {
        ProbeOutcome::Answers { round_trip: Duration::from_millis(round_trip), largest, silent, limit, too_long }
    }

    #[test]
    fn a_path_in_order_is_told_by_two_requests() {
        let mut path = Simulated::new(1400, 9000, 30);
        assert_eq!(measure(&mut path), Measured { outcome: answers(30, 1400, None, 1400, 0), sent: 2, answers: 2 });
        assert_eq!(path.sent, [64, 1400]);
    }

    #[test]
    fn a_black_hole_is_measured_to_the_octet_within_the_time() {
        for delay in [1, 40, 120] {
            let mut path = Simulated::new(1400, 1246, delay);
            let found = measure(&mut path);
            assert_eq!(found.outcome, answers(delay, 1246, Some(1247), 1400, 0), "{delay}");
            assert!(path.now <= Duration::from_secs(9) + MOST, "{:?}", path.now);
        }
        // Where the answers take long, the time is over before: then between two lengths.
        let mut path = Simulated::new(9000, 1246, 900);
        let ProbeOutcome::Answers { largest, silent: Some(silent), .. } = measure(&mut path).outcome else { panic!() };
        assert!(largest <= 1246 && silent > 1246 && path.now <= Duration::from_secs(9) + MOST);
    }

    #[test]
    fn what_is_reported_to_be_too_long_is_no_black_hole() {
        let mut path = Simulated { reported_from: Some(1281), ..Simulated::new(1400, 9000, 5) };
        assert_eq!(measure(&mut path).outcome, answers(5, 1280, None, 1280, 1));
    }

    /// An interface that drops what is too long for the other end says so with one error or another.
    #[test]
    fn long_packets_that_are_refused_are_a_black_hole_too() {
        for errno in [1, 105] {
            let mut path = Simulated { refuses: Some(errno), refused_above: 1246, ..Simulated::new(1400, 9000, 5) };
            let found = measure(&mut path);
            assert_eq!(found.outcome, answers(5, 1246, Some(1247), 1400, 0), "{errno}");
        }
    }

    #[test]
    fn no_answer_says_who_reported_what() {
        let mut path = Simulated::new(1400, 0, 5);
        let none = ProbeOutcome::NoAnswer { unreachable: None };
        assert_eq!(measure(&mut path), Measured { outcome: none, sent: 3, answers: 0 });
        let mut path = Simulated { unreachable: true, ..Simulated::new(1400, 0, 5) };
        let told = ProbeOutcome::NoAnswer { unreachable: Some([10, 2, 0, 254].into()) };
        assert_eq!(measure(&mut path).outcome, told);
        let mut path = Simulated { refuses: Some(101), ..Simulated::new(1400, 0, 5) };
        let refused = ProbeOutcome::CannotSend(SendTrouble::NetworkUnreachable);
        assert_eq!(measure(&mut path), Measured { outcome: refused, sent: 0, answers: 0 });
    }
}
