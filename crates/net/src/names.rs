//! Synthetic names. Inside a session every valid host name has an address at once and nobody is
//! asked: a granted name gets an address of its own, so that a captured connection tells which name
//! it was made for; every other name gets the one address behind which the structured refusal
//! stands. Nothing of a query leaves the machine, so labels carry nothing out.
//!
//! What must stay true: an address stands for one name for as long as the session lives, and a name
//! is looked up in no other place.

mod message;
mod server;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tagout_core::{HostName, HostPattern};
use tokio::sync::{Notify, watch};

use crate::capture::Destination;

pub use message::{Reply, answer_message};
pub use server::NameServer;

/// Distinct refused names that are remembered; what an agent asks for beyond that is answered alike
/// and not listed.
const MOST_REFUSED_NAMES: usize = 4096;

/// The port of the HTTP proxy, on its own address alone.
pub const PROXY_PORT: u16 = 3128;
/// How long a client of the proxy waits for what has to be found out about a name.
const LONGEST_QUESTION: Duration = Duration::from_secs(10);

/// Where synthetic addresses come from.
#[derive(Clone, Copy, Debug)]
pub struct AddressRange {
    /// The first address for a granted name.
    pub first: Ipv4Addr,
    /// The last one.
    pub last: Ipv4Addr,
    /// What every other name resolves to.
    pub refused: Ipv4Addr,
    /// Where the HTTP proxy for tools that insist on one stands.
    pub proxy: Ipv4Addr,
}

impl AddressRange {
    /// The addresses that the sandbox routes to the gates. `198.18.0.0/24` is left for the link's own
    /// ends; all of it is in the benchmarking range (RFC 2544), which is nobody's on the internet.
    pub const SYNTHETIC: Self = Self {
        first: Ipv4Addr::new(198, 18, 1, 0),
        last: Ipv4Addr::new(198, 18, 255, 254),
        refused: Ipv4Addr::new(198, 19, 255, 254),
        proxy: Ipv4Addr::new(198, 19, 255, 253),
    };
}

/// The names of one session.
pub struct Names {
    range: AddressRange,
    on_refused: Box<dyn Fn(&HostName) + Send + Sync>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    granted: Vec<HostPattern>,
    addresses: HashMap<HostName, Ipv4Addr>,
    hosts: HashMap<Ipv4Addr, HostName>,
    refused: HashMap<HostName, u64>,
    /// Names whose address is told only after something has been found out.
    questions: HashMap<HostName, Arc<Question>>,
}

/// Something to find out when a name is first asked for; until it is [settled](Question::settle), whoever
/// asked waits for the address.
pub struct Question {
    asked: Notify,
    settled: watch::Sender<bool>,
}

impl Question {
    /// Returns when the name is asked for.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Lets everybody who waits have the address.
    pub fn settle(&self) {
        self.settled.send_replace(true);
    }
}

impl Names {
    /// No name granted yet. `on_refused` is called once for each name that was asked for and is not
    /// granted, from the name server's task: it must not block.
    pub fn new(
        range: AddressRange,
        on_refused: impl Fn(&HostName) + Send + Sync + 'static,
    ) -> Self {
        Self {
            range,
            on_refused: Box::new(on_refused),
            book: Mutex::default(),
        }
    }

    /// Gives every name that `pattern` matches an address of its own when it is first asked for.
    pub fn grant(&self, pattern: HostPattern) {
        let mut book = self.book();
        if !book.granted.contains(&pattern) {
            book.granted.push(pattern);
        }
    }

    /// Holds back the address of `host` until the question is settled.
    pub fn question(&self, host: HostName) -> Arc<Question> {
        let question = Arc::new(Question {
            asked: Notify::new(),
            settled: watch::Sender::new(false),
        });
        let old = self.book().questions.insert(host, Arc::clone(&question));
        if let Some(old) = old {
            old.settle();
        }
        question
    }

    /// What a query has to wait for, when it has to wait for something. Asks the question.
    pub(crate) fn open_question(&self, query: &[u8]) -> Option<watch::Receiver<bool>> {
        if self.book().questions.is_empty() {
            return None;
        }
        let mut asked = None;
        answer_message(query, |host| {
            asked = Some(host.clone());
            self.range.refused
        });
        let host = asked?;
        let question = self.book().questions.get(&host).map(Arc::clone)?;
        let settled = question.settled.subscribe();
        if *settled.borrow() {
            return None;
        }
        question.asked.notify_one();
        Some(settled)
    }

    /// What a connection to that address and port was made for.
    pub(crate) fn destination(&self, address: IpAddr, port: u16) -> Destination {
        if address == self.range.proxy && port == PROXY_PORT {
            return Destination::Proxy;
        }
        self.lookup(address)
            .map_or(Destination::Unknown, Destination::Known)
    }

    /// What a connection would be made for by a client that looks `host` up by itself. Waits for what
    /// has to be found out about it, as the name server does.
    pub async fn resolved(&self, host: &HostName) -> Destination {
        let question = self.book().questions.get(host).map(Arc::clone);
        if let Some(question) = question {
            let mut settled = question.settled.subscribe();
            if !*settled.borrow() {
                question.asked.notify_one();
                let settled = settled.wait_for(|settled| *settled);
                let _ = tokio::time::timeout(LONGEST_QUESTION, settled).await;
            }
        }
        let address = self.address(host);
        self.lookup(address.into())
            .map_or(Destination::Unknown, Destination::Known)
    }

    /// The name that a synthetic address stands for.
    pub fn lookup(&self, address: IpAddr) -> Option<HostName> {
        match address {
            IpAddr::V4(address) => self.book().hosts.get(&address).cloned(),
            IpAddr::V6(_) => None,
        }
    }

    /// The address of a name. Always one: a name that is not granted has the refusing address.
    pub fn address(&self, host: &HostName) -> Ipv4Addr {
        if host.as_str() == "localhost" || host.as_str().ends_with(".localhost") {
            return Ipv4Addr::LOCALHOST;
        }
        let mut book = self.book();
        if let Some(&address) = book.addresses.get(host) {
            return address;
        }
        if book.granted.iter().any(|pattern| pattern.matches(host))
            && let Some(address) = book.next_free(self.range)
        {
            book.addresses.insert(host.clone(), address);
            book.hosts.insert(address, host.clone());
            return address;
        }
        let full = book.refused.len() >= MOST_REFUSED_NAMES;
        let first = match book.refused.get_mut(host) {
            Some(count) => {
                *count += 1;
                false
            }
            None if full => false,
            None => {
                book.refused.insert(host.clone(), 1);
                true
            }
        };
        drop(book);
        if first {
            (self.on_refused)(host);
        }
        self.range.refused
    }

    /// The names that were asked for and are not granted, with how often, in the order of the names.
    pub fn refused(&self) -> Vec<(HostName, u64)> {
        let mut list: Vec<_> = self
            .book()
            .refused
            .iter()
            .map(|(host, count)| (host.clone(), *count))
            .collect();
        list.sort();
        list
    }

    /// The answer to a DNS message, `None` where the message deserves none.
    pub fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        answer_message(query, |host| self.address(host))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while the book is open, and a book half written would only lack a name.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Addresses are given out in order and never given back, so the count of names is the position.
    fn next_free(&self, range: AddressRange) -> Option<Ipv4Addr> {
        let offset = u32::try_from(self.addresses.len()).ok()?;
        let address = u32::from(range.first).checked_add(offset)?;
        (address <= u32::from(range.last)).then(|| Ipv4Addr::from(address))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn host(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn names() -> Names {
        let names = Names::new(AddressRange::SYNTHETIC, |_| ());
        names.grant(HostPattern::parse("api.example.com").unwrap());
        names.grant(HostPattern::parse("*.example.org").unwrap());
        names
    }

    #[test]
    fn invariant_6_each_granted_name_has_an_address_of_its_own_that_leads_back_to_it() {
        let names = names();
        let first = names.address(&host("api.example.com"));
        let second = names.address(&host("a.example.org"));
        let third = names.address(&host("b.example.org"));
        assert_eq!(first, Ipv4Addr::new(198, 18, 1, 0));
        assert!(first != second && second != third && first != third);
        assert_eq!(names.address(&host("api.example.com")), first);
        assert_eq!(names.lookup(first.into()), Some(host("api.example.com")));
        assert_eq!(names.lookup(third.into()), Some(host("b.example.org")));
        assert_eq!(names.lookup("198.18.0.1".parse().unwrap()), None);
        assert_eq!(names.lookup("198.19.255.254".parse().unwrap()), None);
    }

    #[test]
    fn invariant_1_every_other_name_is_refused_and_reported_once() {
        let reports = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reports);
        let names = Names::new(AddressRange::SYNTHETIC, move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 0..3 {
            let address = names.address(&host("evil.example.net"));
            assert_eq!(address, AddressRange::SYNTHETIC.refused);
        }
        assert_eq!(
            names.address(&host("intranet")),
            AddressRange::SYNTHETIC.refused
        );
        assert_eq!(reports.load(Ordering::Relaxed), 2);
        let refused = names.refused();
        assert_eq!(refused[0], (host("evil.example.net"), 3));
        for number in 0..MOST_REFUSED_NAMES + 10 {
            names.address(&host(&format!("n{number}.example.net")));
        }
        assert_eq!(names.refused().len(), MOST_REFUSED_NAMES);
    }

    #[test]
    fn a_range_that_is_used_up_refuses() {
        let range = AddressRange {
            last: AddressRange::SYNTHETIC.first,
            ..AddressRange::SYNTHETIC
        };
        let names = Names::new(range, |_| ());
        names.grant(HostPattern::parse("*.example.org").unwrap());
        assert_eq!(names.address(&host("a.example.org")), range.first);
        assert_eq!(names.address(&host("b.example.org")), range.refused);
        assert_eq!(names.address(&host("a.example.org")), range.first);
    }

    #[tokio::test]
    async fn a_name_is_the_same_through_the_proxy_as_by_its_address() {
        let names = names();
        for (name, expected) in [
            ("api.example.com", Some("api.example.com")),
            ("evil.example.net", None),
            ("localhost", None),
        ] {
            let expected =
                expected.map_or(Destination::Unknown, |name| Destination::Known(host(name)));
            let found = names.resolved(&host(name)).await;
            assert_eq!(found, expected);
            let address = names.address(&host(name));
            assert_eq!(names.destination(address.into(), PROXY_PORT), expected);
        }
        let proxy = AddressRange::SYNTHETIC.proxy.into();
        assert_eq!(names.destination(proxy, PROXY_PORT), Destination::Proxy);
        assert_eq!(names.destination(proxy, 443), Destination::Unknown);
        assert_eq!(
            names.destination(AddressRange::SYNTHETIC.refused.into(), PROXY_PORT),
            Destination::Unknown
        );
        // What is found out when a name is first asked for is found out for the proxy as well.
        let question = names.question(host("api.example.com"));
        let settle = async {
            question.asked().await;
            question.settle();
        };
        let name = host("api.example.com");
        let (found, ()) = tokio::join!(names.resolved(&name), settle);
        assert_eq!(found, Destination::Known(name));
    }

    #[test]
    fn localhost_is_the_sandbox_itself() {
        let names = names();
        assert_eq!(names.address(&host("localhost")), Ipv4Addr::LOCALHOST);
        assert_eq!(names.address(&host("app.localhost")), Ipv4Addr::LOCALHOST);
    }
}
