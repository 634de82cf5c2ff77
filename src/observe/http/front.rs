//! A small HTTP/1 server for a few pages, which no client can make take more than it has: at most
//! [`MOST`] connections, of each a head of 8 KiB and one answer, and five seconds for either. One
//! thread looks after all of them; a second one makes the pages that take time, each once for all who
//! wait for it.
//!
//! When one more connects than there is room for, the one that has been sending its head for longest
//! goes: so a thousand slow clients keep nobody out.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answer::Answer;
use super::connection::{Connection, Wants};
use super::head::Request;
use super::stream::Stream;
use super::tls::Tls;

/// Connections at a time.
pub(super) const MOST: usize = 64;

/// How long one has at least before it goes for another.
const GRACE: Duration = Duration::from_millis(30);

/// Connections that the kernel keeps for us. With few it refuses some in a burst, and they try again
/// after a second.
const BACKLOG: i32 = 1024;

/// Taken at a time, before those that are there have their turn.
const AT_ONCE: usize = 16;

/// How long a stop request may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long no connection is taken when there is no descriptor for one.
const WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(100);

/// What is at a path.
pub(super) enum Page {
    /// An answer that needs no lock that anybody holds for long.
    AtOnce(Answer),
    /// One that [`Site::make`] makes, by its name among all.
    TakesTime(&'static str),
}

/// The pages.
pub(super) trait Site: Sync {
    /// What is asked for.
    fn find(&self, request: &Request) -> Page;
    /// Makes a page that takes time.
    fn make(&self, page: &'static str) -> Answer;
}

/// See the module.
pub(super) struct Front {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Mutex<Tls>>,
}

impl Front {
    /// By TLS, if there is any.
    pub(super) fn bind(address: SocketAddr, tls: Option<Tls>) -> io::Result<Front> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        let tls = tls.map(Mutex::new);
        Ok(Front {
            listener,
            address,
            tls,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn connection(&self, stream: TcpStream, now: Instant) -> anyhow::Result<Connection> {
        let tls = self.tls.as_ref();
        let mut tls = tls.map(|tls| tls.lock().unwrap_or_else(PoisonError::into_inner));
        let stream = Stream::new(stream, tls.as_deref_mut(), now)?;
        Ok(Connection::new(stream, now))
    }

    /// Answers until `stop` says so.
    pub(super) fn serve(&self, site: &dyn Site, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let (asked, to_make) = unbounded::<&'static str>();
        let (to_answer, made) = unbounded();
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        thread::scope(|scope| {
            thread::Builder::new()
                .name("pages".into())
                .spawn_scoped(scope, move || make(site, &to_make, &to_answer, &wake))?;
            let mut desk = Desk {
                front: self,
                site,
                asked,
                made,
                woken,
                under_way: Vec::new(),
                connections: Vec::new(),
                closed_until: Instant::now(),
            };
            while !stop() {
                desk.turn()?;
            }
            Ok(())
        })
    }
}

/// Makes one page after the other until nobody asks any more.
fn make(
    site: &dyn Site,
    asked: &Receiver<&'static str>,
    made: &Sender<(&'static str, Answer)>,
    mut wake: &UnixStream,
) {
    for page in asked {
        let answer = guarded(|| site.make(page));
        let told = made.send((page, answer)).is_ok() && wake.write_all(&[0]).is_ok();
        if !told {
            return;
        }
    }
}

/// A page that panics is the page's fault, not the server's.
fn guarded(page: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(page))
        .unwrap_or_else(|_| Answer::text(500, "BUG: this page panicked, see the log\n"))
}

struct Desk<'a> {
    front: &'a Front,
    site: &'a dyn Site,
    asked: Sender<&'static str>,
    made: Receiver<(&'static str, Answer)>,
    woken: UnixStream,
    /// Pages that are being made: each once, however many wait.
    under_way: Vec<&'static str>,
    connections: Vec<Connection>,
    /// No connection is taken before this.
    closed_until: Instant,
}

impl Desk<'_> {
    /// Waits until something moves, and sees to it.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        let mut signs = [0; 64];
        while self.woken.read(&mut signs).is_ok_and(|n| n > 0) {}
        let now = Instant::now();
        while let Ok((page, answer)) = self.made.try_recv() {
            self.under_way.retain(|p| *p != page);
            for c in &mut self.connections {
                if let Some((_, head_only)) = c.waits_for().filter(|(p, _)| *p == page) {
                    // A connection that wants to close does so at its turn below.
                    c.answer(&answer, head_only, now);
                }
            }
        }
        if now >= self.closed_until {
            self.accept(now)?;
        }
        let mut all = std::mem::take(&mut self.connections);
        all.retain_mut(|c| self.see_to(c, now));
        self.connections = all;
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let now = Instant::now();
        let ends = self.connections.iter().filter_map(Connection::until);
        let is_open = now >= self.closed_until;
        let next = ends
            .chain((!is_open).then_some(self.closed_until))
            .map(|at| at.saturating_duration_since(now))
            .min()
            .map_or(LOOK_EVERY, |first| first.min(LOOK_EVERY));
        let mut polled = vec![PollFd::from_borrowed_fd(self.woken.as_fd(), PollFlags::IN)];
        if is_open {
            polled.push(PollFd::from_borrowed_fd(
                self.front.listener.as_fd(),
                PollFlags::IN,
            ));
        }
        for c in &self.connections {
            // A hang-up is told whether it is asked for or not: one that waits for a page would turn
            // this into a loop.
            if c.waits_for().is_none() {
                polled.push(PollFd::from_borrowed_fd(c.socket().as_fd(), c.interest()));
            }
        }
        // A millisecond more: to wake just before the end would be to wake twice.
        let next = Timespec::try_from(next + Duration::from_millis(1));
        match poll(&mut polled, next.ok().as_ref()) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            if !self.makes_room(now) {
                return Ok(());
            }
            match self.front.listener.accept() {
                // One that is gone already is nobody's loss.
                Ok((stream, _)) => self.connections.extend(self.front.connection(stream, now)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if is_the_clients(&e) => {}
                Err(e) => {
                    log::debug!("no connection is taken for a moment: {e}");
                    self.closed_until = now + WITHOUT_DESCRIPTORS;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether there is room for one more; if need be, by closing the least worth.
    fn makes_room(&mut self, now: Instant) -> bool {
        if self.connections.len() < MOST {
            return true;
        }
        let ranks = self.connections.iter().enumerate();
        let Some((at, first)) = ranks.min_by_key(|(_, c)| c.rank()) else {
            return true;
        };
        let may_go = first.accepted() + GRACE;
        if now < may_go {
            self.closed_until = may_go;
            return false;
        }
        self.connections.swap_remove(at);
        true
    }

    /// Returns whether the connection stays.
    fn see_to(&mut self, c: &mut Connection, now: Instant) -> bool {
        let wants = match c.go_on(now) {
            Wants::Page(request) => {
                log::trace!("asked for {:?}", request.path);
                match self.find(&request) {
                    Page::AtOnce(answer) => c.answer(&answer, request.head_only, now),
                    Page::TakesTime(page) => {
                        c.wait_for(page, request.head_only);
                        self.ask_for(page)
                    }
                }
            }
            wants => wants,
        };
        wants != Wants::Close
    }

    fn find(&self, request: &Request) -> Page {
        let mut takes_time = None;
        let answer = guarded(|| match self.site.find(request) {
            Page::AtOnce(answer) => answer,
            Page::TakesTime(page) => {
                takes_time = Some(page);
                Answer::text(500, "")
            }
        });
        takes_time.map_or(Page::AtOnce(answer), Page::TakesTime)
    }

    fn ask_for(&mut self, page: &'static str) -> Wants {
        if !self.under_way.contains(&page) {
            if self.asked.send(page).is_err() {
                return Wants::Close;
            }
            self.under_way.push(page);
        }
        Wants::Nothing
    }
}

/// Whether the connection failed, and not the listening for it.
fn is_the_clients(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
