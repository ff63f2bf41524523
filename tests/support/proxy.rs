//! A proxy before the real S3 server that does what networks and servers do on bad days, on purpose.
//!
//! Every request of a client is answered by the server, through a connection of its own, unless a [`Fault`]
//! meets it. Which request meets which fault is a function of a seed and the request's number, so that a
//! test meets the same ones again as long as it makes the same requests.
//!
//! A test opens its store at [`Proxy::endpoint`]; the signatures hold, because the proxy passes on all
//! headers as they are, `Host` too.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server is overloaded and says so: 503 with S3's XML. It does nothing else.
    SlowDown,
    /// The connection is reset before the server sees the request.
    ResetBefore,
    /// The connection is reset after the server has done as asked: the acknowledgement is lost.
    ResetAfter,
    /// No answer ever comes, and the server sees nothing: the client has to give up.
    Stall,
    /// The server has done as asked, but its answer is cut short: in the body where it has one.
    Truncate,
    /// All requests of an [outage](Proxy::outage) are reset before the server sees them.
    Outage,
}

impl Fault {
    /// All that a single request may meet.
    pub const ALL: [Fault; 5] =
        [Fault::SlowDown, Fault::ResetBefore, Fault::ResetAfter, Fault::Stall, Fault::Truncate];
}

/// The proxy; its thread ends with the process.
pub struct Proxy(Arc<Line>);

/// What the connections' threads share.
struct Line {
    /// Where the server listens, as `127.0.0.1:8333`.
    server: String,
    port: u16,
    plan: Mutex<Plan>,
    /// Woken by every request.
    seen: Condvar,
}

/// What is to happen, and what did.
#[derive(Default)]
struct Plan {
    /// A share of all requests meets a fault that is a function of this seed and the request's number.
    random: Option<(f64, u64)>,
    /// Met by the next requests, one each.
    next: VecDeque<Fault>,
    outage: bool,
    /// The status that answers requests with a condition, of a server that does not know any.
    unconditional: Option<&'static str>,
    /// An outage begins with the n-th request from now of a method whose path has this part.
    outage_at: Option<(usize, String, String)>,
    requests: u64,
    met: BTreeMap<Fault, u64>,
}

impl Proxy {
    /// A proxy before a server, given as `http://127.0.0.1:8333`; without faults until asked for.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Arc::new(Line {
            server: server.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned(),
            port: listener.local_addr().unwrap().port(),
            plan: Mutex::default(),
            seen: Condvar::new(),
        });
        let shared = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                let line = Arc::clone(&shared);
                // A client that leaves in the middle is an everyday event here.
                thread::spawn(move || drop(line.serve(client)));
            }
        });
        Proxy(line)
    }

    /// What to set `AWS_ENDPOINT_URL` to.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// From now on this share of all requests meets a fault, each of [`Fault::ALL`] as often; 0 for none.
    pub fn inject(&self, share: f64, seed: u64) {
        self.plan(|plan| plan.random = Some((share, seed)));
    }

    /// The next so many requests meet this fault, whatever else was asked for.
    pub fn inject_next(&self, fault: Fault, requests: usize) {
        self.plan(|plan| plan.next.extend(std::iter::repeat_n(fault, requests)));
    }

    /// Begins or ends an outage: all requests are reset.
    pub fn outage(&self, on: bool) {
        self.plan(|plan| plan.outage = on);
    }

    /// An outage begins with the n-th request (from 1) from now of this method whose path has this part:
    /// `outage_at(3, "PUT", "/step-")` lets two checkpoints through.
    pub fn outage_at(&self, n: usize, method: &str, part: &str) {
        assert!(n > 0, "counted from 1");
        self.plan(|plan| plan.outage_at = Some((n, method.to_owned(), part.to_owned())));
    }

    /// From now on requests with a condition (`If-None-Match`, `If-Match`) are answered with this status and an error
    /// document, such as `501 Not Implemented`, and the server does not see them.
    pub fn without_conditions(&self, status: &'static str) {
        self.plan(|plan| plan.unconditional = Some(status));
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.plan(|plan| plan.requests)
    }

    /// How many requests met this fault.
    pub fn met(&self, fault: Fault) -> u64 {
        self.plan(|plan| plan.met.get(&fault).copied().unwrap_or(0))
    }

    /// How many requests met any.
    pub fn met_any(&self) -> u64 {
        self.plan(|plan| plan.met.values().sum())
    }

    /// Waits until so many requests have met this fault.
    pub fn wait_for(&self, fault: Fault, requests: u64) {
        let met = |plan: &mut Plan| plan.met.get(&fault).is_none_or(|&met| met < requests);
        let plan = self.0.plan.lock().unwrap();
        let (_plan, waited) = self.0.seen.wait_timeout_while(plan, Duration::from_secs(120), met).unwrap();
        assert!(!waited.timed_out(), "no {requests} requests met {fault:?} in two minutes");
    }

    fn plan<T>(&self, look: impl FnOnce(&mut Plan) -> T) -> T {
        look(&mut self.0.plan.lock().unwrap())
    }
}

impl Plan {
    /// Counts a request, and says what it meets.
    fn meet(&mut self, head: &str) -> Option<Fault> {
        let number = self.requests;
        self.requests += 1;
        self.begin_outage_at(head);
        let fault = if self.outage {
            Some(Fault::Outage)
        } else if let Some(fault) = self.next.pop_front() {
            Some(fault)
        } else {
            self.random.and_then(|(share, seed)| draw(share, seed, number))
        };
        if let Some(fault) = fault {
            *self.met.entry(fault).or_default() += 1;
        }
        fault
    }

    fn begin_outage_at(&mut self, head: &str) {
        let Some((n, method, part)) = &mut self.outage_at else { return };
        let mut words = head.split(' ');
        if words.next() == Some(method) && words.next().is_some_and(|path| path.contains(part.as_str())) {
            *n -= 1;
            if *n == 0 {
                self.outage = true;
                self.outage_at = None;
            }
        }
    }
}

/// The fault of a request, for a share of all.
fn draw(share: f64, seed: u64, number: u64) -> Option<Fault> {
    // SplitMix64: every bit of the result depends on every bit of the counter.
    let mut bits = (seed << 32 ^ number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let (low, high) = (bits & 0xffff_ffff, bits >> 32);
    let meets = (high as f64) < share * 2f64.powi(32);
    meets.then(|| Fault::ALL[(low % Fault::ALL.len() as u64) as usize])
}

impl Line {
    /// One request of a client, then the end of its connection.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let request = read_request(&mut client)?;
        let (fault, unconditional) = {
            let mut plan = self.plan.lock().unwrap();
            (plan.meet(&request.head), plan.unconditional)
        };
        self.seen.notify_all();
        let has_condition =
            ["if-none-match", "if-match"].iter().any(|name| header(&request.head, name).is_some());
        if let Some(status) = unconditional.filter(|_| has_condition) {
            client.read_exact(&mut [0])?;
            let body = "<Error><Code>InvalidArgument</Code><Message>Unknown header</Message></Error>";
            client.write_all(answer(status, body).as_bytes())?;
            return client.shutdown(Shutdown::Both);
        }
        match fault {
            // A connection that is closed while something that came was not taken is a reset one.
            Some(Fault::ResetBefore | Fault::Outage) => return Ok(()),
            Some(Fault::ResetAfter) => return self.forward(&request).map(drop),
            _ => client.read_exact(&mut [0])?,
        }
        match fault {
            Some(Fault::Stall) => {
                // Until the client hangs up.
                client.peek(&mut [0])?;
            }
            Some(Fault::SlowDown) => client.write_all(slow_down().as_bytes())?,
            Some(Fault::Truncate) => {
                let answer = self.forward(&request)?;
                client.write_all(&answer[..cut(&answer)])?;
            }
            _ => client.write_all(&self.forward(&request)?)?,
        }
        client.shutdown(Shutdown::Both)
    }

    /// Sends a request to the server and reads the whole of its answer.
    fn forward(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.server)?;
        // One request a connection: the answer ends with it.
        let (first, rest) = request.head.split_once("\r\n").ok_or(io::ErrorKind::InvalidData)?;
        server.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes())?;
        server.write_all(&request.rest)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// A request as it came.
struct Request {
    /// Up to the carriage return of the empty line.
    head: String,
    /// The newline after it, and the body.
    rest: Vec<u8>,
}

/// Reads a whole request, but does not take its last byte: that is the difference between closing a connection
/// and resetting it.
fn read_request(client: &mut TcpStream) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
    assert!(
        header(&head, "transfer-encoding").is_none(),
        "the store sends bodies of a known length:\n{head}"
    );
    let body: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut rest = vec![0; 1 + body];
    client.read_exact(&mut rest[..body])?;
    if client.peek(&mut rest[body..])? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Request { head, rest })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Where to cut an answer: in the middle of its body, or of its head where that is all.
fn cut(answer: &[u8]) -> usize {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    if head < answer.len() { (head + answer.len()) / 2 } else { answer.len() / 2 }
}

fn slow_down() -> String {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>\
                <Message>Please reduce your request rate.</Message></Error>";
    answer("503 Slow Down", body)
}

fn answer(status: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
