// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The worker processes: starts them, kills and stops them, and watches that no call of theirs waits for ever.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buffersync_testbed_guest::user::User;
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::control::{nanos, now, Control, Order, ACTORS, THREADS, WORKERS};
use crate::header::{Header, SLOTS};
use buffersync_testbed_guest::random::Random;

/// A call that takes so much longer than its own time limit was forgotten. Machines that do other things too are slow,
/// and a stopped worker stops nobody for longer than the hold limit.
const GRACE: Duration = Duration::from_secs(30);

struct Worker {
    child: Child,
    first: usize,
    /// When it will be woken; it is stopped until then.
    stopped_until: Option<u64>,
    /// It has had an order to die.
    dies: bool,
    /// It or the service was not there before this time, so its calls took longer.
    excused: u64,
}

/// All workers.
pub struct Crew<'a> {
    control: &'a Control,
    headers: &'a [Header],
    buffers: &'a [OwnedFd],
    workers: Vec<Option<Worker>>,
    /// Workers that were killed, or died as they were told.
    pub kills: u64,
    random: Random,
}

impl<'a> Crew<'a> {
    pub fn new(
        control: &'a Control,
        headers: &'a [Header],
        buffers: &'a [OwnedFd],
        random: Random,
    ) -> Self {
        let workers = (0..WORKERS).map(|_| None).collect();
        Self { control, headers, buffers, workers, kills: 0, random }
    }

    /// Starts the workers that are missing, if there are names for their threads.
    pub fn fill_up(&mut self) -> std::io::Result<()> {
        for at in 0..WORKERS {
            if self.workers[at].is_some() {
                continue;
            }
            let Some(first) = self.free_actors() else { return Ok(()) };
            for actor in first..first + THREADS {
                self.control.killed_at(actor).store(0, SeqCst);
                self.control.reaped(actor).store(0, SeqCst);
                self.control.in_call_since(actor).store(0, SeqCst);
            }
            self.control.order(at, Order::None);
            let user = User::CLIENTS[at % User::CLIENTS.len()];
            let mut command = user.command(std::env::current_exe()?);
            let seed = self.random.number();
            command.arg("worker").args([at as u64, first as u64, seed].map(|n| n.to_string()));
            command.arg(self.control.raw_fd().to_string()).stdin(Stdio::null());
            for fd in [self.control.raw_fd()]
                .into_iter()
                .chain(self.buffers.iter().map(AsRawFd::as_raw_fd))
            {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            command.args(self.buffers.iter().map(|fd| fd.as_raw_fd().to_string()));
            let child = command.spawn()?;
            let excused = now();
            self.workers[at] =
                Some(Worker { child, first, stopped_until: None, dies: false, excused });
        }
        Ok(())
    }

    /// Names of which nothing is left in any buffer. What the dead have left goes when somebody has found it.
    fn free_actors(&self) -> Option<usize> {
        let used = |first: usize| self.workers.iter().flatten().any(|worker| worker.first == first);
        let left = |first: usize| {
            let mut slots = 2 * first..2 * (first + THREADS);
            slots.any(|slot| self.headers.iter().any(|header| !header.name(slot).is_none()))
        };
        let mut all = (0..ACTORS / THREADS).map(|nth| nth * THREADS);
        let first = all.find(|first| !used(*first) && !left(*first))?;
        // One that was killed in blindness is blind no more.
        for (header, slot) in
            self.headers.iter().flat_map(|header| (0..SLOTS).map(move |slot| (header, slot)))
        {
            if (2 * first..2 * (first + THREADS)).contains(&slot)
                && header.blind(slot).load(SeqCst) != 0
            {
                header.taint().store(1, SeqCst);
                header.clean().fetch_max(now(), SeqCst);
                header.clean_writer().fetch_max(now(), SeqCst);
                header.blind(slot).store(0, SeqCst);
            }
        }
        Some(first)
    }

    fn any(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..WORKERS).filter(|at| self.workers[*at].is_some()).collect();
        self.random.one_of(&there)
    }

    /// Kills a worker, wherever it is.
    pub fn kill_one(&mut self) -> std::io::Result<()> {
        match self.any() {
            Some(at) => self.kill(at),
            None => Ok(()),
        }
    }

    fn kill(&mut self, at: usize) -> std::io::Result<()> {
        let Some(worker) = self.workers[at].as_mut() else { return Ok(()) };
        for actor in worker.first..worker.first + THREADS {
            // It may have died already, and said when.
            let _ = self.control.killed_at(actor).compare_exchange(0, now(), SeqCst, SeqCst);
        }
        worker.child.kill()?;
        let status = worker.child.wait()?;
        if status.code().is_some_and(|code| code != 0 || !worker.dies) {
            self.control.violation(&format!("worker {at} had ended by itself: {status}"));
        }
        self.bury(at);
        Ok(())
    }

    /// The process has ended.
    fn bury(&mut self, at: usize) {
        if let Some(worker) = self.workers[at].take() {
            for actor in worker.first..worker.first + THREADS {
                self.control.reaped(actor).store(1, SeqCst);
            }
            self.kills += 1;
        }
    }

    /// Stops a worker for a time.
    pub fn stop_one(&mut self, time: Duration) {
        let Some(worker) = self.any().and_then(|at| self.workers[at].as_mut()) else { return };
        if worker.stopped_until.is_none() {
            signal(&worker.child, Signal::SIGSTOP);
            worker.stopped_until = Some(now() + nanos(time));
        }
    }

    /// Tells a worker to do something.
    pub fn order_one(&mut self, order: Order) {
        let Some(at) = self.any() else { return };
        if let Some(worker) = &mut self.workers[at] {
            worker.dies |= order == Order::ForkAndDie;
            self.control.order(at, order);
        }
    }

    /// The service was not there: calls may have waited for it.
    pub fn excuse_all(&mut self) {
        self.workers.iter_mut().flatten().for_each(|worker| worker.excused = now());
    }

    /// Wakes who has been stopped long enough, buries who has died, and looks who waits too long. True if somebody did.
    pub fn look(&mut self) -> std::io::Result<bool> {
        let mut forgotten = false;
        for at in 0..WORKERS {
            let Some(worker) = &mut self.workers[at] else { continue };
            if worker.stopped_until.is_some_and(|until| now() >= until) {
                signal(&worker.child, Signal::SIGCONT);
                (worker.stopped_until, worker.excused) = (None, now());
            }
            if let Some(status) = worker.child.try_wait()? {
                if !(worker.dies && status.success()) {
                    self.control.violation(&format!("worker {at} has ended by itself: {status}"));
                }
                self.bury(at);
                continue;
            }
            if worker.stopped_until.is_some() {
                continue;
            }
            for actor in worker.first..worker.first + THREADS {
                let since = self.control.in_call_since(actor).load(SeqCst);
                let limit = self.control.call_limit(actor).load(SeqCst) + nanos(GRACE);
                if since != 0 && now() > since.max(worker.excused) + limit {
                    let limit = Duration::from_nanos(limit);
                    let what = format!("a call of actor {actor} takes longer than {limit:?}");
                    self.control.violation(&what);
                    worker.excused = now();
                    forgotten = true;
                }
            }
        }
        Ok(forgotten)
    }

    /// Tells all to end, waits until they have, and kills who does not. Others can be started afterwards.
    pub fn end(&mut self) -> std::io::Result<()> {
        self.control.over().store(1, SeqCst);
        let begin = now();
        while self.workers.iter().any(Option::is_some) {
            for at in 0..WORKERS {
                let Some(worker) = &mut self.workers[at] else { continue };
                if worker.stopped_until.take().is_some() {
                    signal(&worker.child, Signal::SIGCONT);
                }
                if let Some(status) = worker.child.try_wait()? {
                    if !status.success() {
                        self.control.violation(&format!("worker {at}: {status}"));
                    }
                    self.workers[at] = None;
                } else if now() > begin + 3 * nanos(GRACE) {
                    self.control.violation(&format!("worker {at} does not end"));
                    self.kill(at)?;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.control.over().store(0, SeqCst);
        Ok(())
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
