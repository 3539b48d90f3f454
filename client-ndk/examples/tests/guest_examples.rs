// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs the examples. Each exchanges frames with this process, under a user of its own.
//!
//! Both sides announce a frame when they hold its buffer and have not written it yet: a side that does
//! not wait for the lock finds the old content. The test counts descriptors after a few frames and after
//! the last one. The C and C++ programs are built with AddressSanitizer; a leak fails their exit status.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

mod recovery;
mod requests;
mod rust_client;

use buffersync_client::{BufferSync, Group, Mapped, Options, Read, Write};
use buffersync_examples::{check_frame, frame_word, words, write_frame};
use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::heap;
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;
use nix::fcntl::{fcntl, FcntlArg, FdFlag};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};

const SIZE: usize = 64 * 1024;
const FRAMES: u32 = 60;
/// After this frame a program must not open more descriptors.
const WARM: u32 = 10;
/// A program has no more groups than this.
const GROUPS: usize = 4;
/// The exit status of a program in which the sanitizer found something.
const SANITIZER: i32 = 23;
/// After this time a program counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

fn folder(name: &str) -> PathBuf {
    std::env::var_os("BUFFERSYNC_STAGE").map_or_else(|| "/stage".into(), PathBuf::from).join(name)
}

fn start() -> Stack {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    Stack::start(&folder("bin"), &out.join("log-examples"), &patient()).expect("stack")
}

/// A running example, and the numbers that it prints.
struct Example {
    child: Child,
    output: BufReader<ChildStdout>,
    warm_fds: usize,
    // The descriptors that it inherits. They must stay open here until it runs.
    _inherited: Vec<OwnedFd>,
}

impl Example {
    /// Starts it with the buffers' descriptors as its first arguments.
    fn start(mut command: Command, buffers: &[&DmaBuf], more: &[String]) -> Self {
        let inherited: Vec<OwnedFd> = buffers
            .iter()
            .map(|buffer| buffer.as_fd().try_clone_to_owned().expect("dup"))
            .collect();
        for fd in &inherited {
            fcntl(fd.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty())).expect("F_SETFD");
        }
        let numbers = inherited.iter().map(|fd| fd.as_raw_fd().to_string());
        command.args(numbers).args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("spawn");
        let output = BufReader::new(child.stdout.take().expect("stdout"));
        Self { child, output, warm_fds: 0, _inherited: inherited }
    }

    fn send(&mut self, number: u32) {
        writeln!(self.child.stdin.as_mut().expect("stdin"), "{number}").expect("it reads");
    }

    /// The next number that it prints.
    fn next(&mut self) -> u32 {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read");
        line.trim().parse().unwrap_or_else(|_| panic!("it said {line:?}"))
    }

    fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("fds").count()
    }

    /// Checks its descriptors after some frames.
    fn frame_done(&mut self, nth: u32) {
        if nth == WARM {
            self.warm_fds = self.open_fds();
        }
        if nth == FRAMES {
            // It may be about to close one, so try for a while.
            let begin = std::time::Instant::now();
            // A group opens one more when it waits for the first time, which may be late.
            while self.open_fds() > self.warm_fds + GROUPS {
                assert!(begin.elapsed() < PATIENCE, "descriptors leak");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Ends it, and fails if the sanitizer found a leak.
    fn finish(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// Ends it, and returns the last line that it printed.
    fn last_line(mut self) -> String {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("read");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}");
        text.lines().last().unwrap_or_default().to_string()
    }

    fn end(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        // Reads what it printed meanwhile, or it would block.
        std::io::copy(&mut self.output, &mut std::io::sink()).expect("read");
        self.child.wait().expect("wait")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This side of the exchange.
struct Peer {
    group: Group,
    input: Mapped<Write>,
    result: Group,
    output: Mapped<Read>,
}

impl Peer {
    fn new(sync: &BufferSync, input: &DmaBuf, output: &DmaBuf) -> Self {
        let group = sync.open_group("examples/source", Options::default()).expect("open_group");
        let result = sync.open_group("examples/sink", Options::default()).expect("open_group");
        let (input, output) = (group.map(input).expect("map"), result.map(output).expect("map"));
        Self { group, input, result, output }
    }

    /// Writes frames and checks the filtered ones, one by one.
    fn exchange(&mut self, example: &mut Example, filter: fn(u32) -> u32) {
        for number in 1..=FRAMES {
            self.exchange_one(example, number, filter);
            example.frame_done(number);
        }
    }

    fn exchange_one(&mut self, example: &mut Example, number: u32, filter: fn(u32) -> u32) {
        let grant = self.group.lock(PATIENCE).expect("lock");
        // Before the frame is written, so a reader that comes too early is noticed.
        example.send(number);
        if number % 10 == 1 {
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: the examples lock these buffers too, as this tests.
        let bytes = unsafe { self.input.bytes_mut(&grant) };
        write_frame(bytes.expect("held"), number, |word| word);
        grant.unlock().expect("unlock");

        assert_eq!(example.next(), number);
        let grant = self.result.lock(PATIENCE).expect("lock");
        let frame = self.output.to_vec(&grant).expect("held");
        check_frame(&frame, number, filter).expect("whole");
        grant.unlock().expect("unlock");
    }
}

fn buffers<const N: usize>() -> [DmaBuf; N] {
    std::array::from_fn(|_| heap::allocate(SIZE).expect("heap"))
}

/// A program of `clients/`, which fails if a sanitizer finds something.
fn program(user: User, name: &str) -> Command {
    let mut command = user.command(folder("clients").join(name));
    command.env("ASAN_OPTIONS", format!("exitcode={SANITIZER}:detect_leaks=1"));
    command.env("UBSAN_OPTIONS", "halt_on_error=1");
    command
}

/// One test, because a process opens the binder driver only once and a second stack would need it again.
#[test]
fn examples_exchange_frames_and_leak_nothing() {
    let mut stack = start();
    let sync = BufferSync::connect().expect("connect");
    step("C camera", || camera(&sync));
    step("C++ codec", || {
        let [input, output] = buffers();
        let codec = program(User::CODEC, "codec");
        let mut codec = Example::start(codec, &[&input, &output], &size_and_hold(0));
        Peer::new(&sync, &input, &output).exchange(&mut codec, |word| !word);
        codec.finish();
    });
    step("Java preview", || {
        let [input, output] = buffers();
        let mut preview = Example::start(java(User::PREVIEW, "Preview"), &[&input, &output], &[]);
        Peer::new(&sync, &input, &output).exchange(&mut preview, |word| !word);
        preview.finish();
    });
    step("Rust pipeline", || {
        let [input, middle, output] = buffers();
        let pipeline = User::CAMERA.command(folder("bin").join("buffersync-example-pipeline"));
        let mut pipeline = Example::start(pipeline, &[&input, &middle, &output], &[]);
        Peer::new(&sync, &input, &output).exchange(&mut pipeline, |word| word);
        pipeline.finish();
    });
    step("C++, as AOSP's HALs would call", || {
        let [video, preview] = buffers();
        let frames = ["30".to_string()];
        let hals = program(User::CAMERA, "aosp_hals");
        Example::start(hals, &[&video, &preview], &frames).finish();
    });
    step("misuse from C", || {
        let [one, other] = buffers();
        let misuse = program(User::STUCK, "misuse");
        Example::start(misuse, &[&one, &other], &[]).finish();
        let mut misuse = program(User::STUCK, "misuse");
        misuse.env("LD_LIBRARY_PATH", folder("clients/nativewindow")).env("WITH_NATIVEWINDOW", "1");
        Example::start(misuse, &[&one, &other], &[]).finish();
        // A leak on purpose must be noticed.
        let mut misuse = program(User::STUCK, "misuse");
        misuse.env("WITH_LEAK", "1").stderr(Stdio::null());
        let leaky = Example::start(misuse, &[&one, &other], &[]).end();
        assert_eq!(leaky.code(), Some(SANITIZER), "a leak was not noticed");
    });
    step("Kotlin viewfinder", || {
        let [preview, still] = buffers();
        Example::start(java(User::PREVIEW, "ViewfinderKt"), &[&preview, &still], &[]).finish();
    });
    step("objects of C++", || {
        let [one, other] = buffers();
        Example::start(program(User::STUCK, "objects"), &[&one, &other], &[]).finish();
    });
    step("misuse from Java", || {
        let [one, other] = buffers();
        // A handle may have memory with metadata beside its dma-bufs. The program inherits it.
        let metadata = memfd_create(c"metadata", MemFdCreateFlag::empty()).expect("memfd_create");
        nix::unistd::ftruncate(&metadata, 4096).expect("ftruncate");
        let number = [metadata.as_raw_fd().to_string()];
        Example::start(java(User::STUCK, "Misuse"), &[&one, &other], &number).finish();
    });
    step("anything from C", || {
        let [one, other] = buffers();
        let run = ["10000".to_string(), "1".to_string()];
        let anything = program(User::STUCK, "anything");
        Example::start(anything, &[&one, &other], &run).finish();
    });
    step("anything from Java", || {
        let [one, other] = buffers();
        let run = ["3000".to_string(), "1".to_string()];
        Example::start(java(User::STUCK, "Anything"), &[&one, &other], &run).finish();
    });
    step("a client without a free descriptor", || {
        Example::start(program(User::STUCK, "reply_without_descriptor"), &[], &[]).finish();
    });
    step("a service without a free descriptor", || {
        let numbers = [stack.service_pid(), User::STUCK.0].map(|number| number.to_string());
        Example::start(program(User::ROOT, "service_without_descriptor"), &[], &numbers).finish();
    });
    step("a lock of the own group", || {
        let [one, other] = buffers();
        let own = program(User::PREVIEW, "lock_of_own_group");
        Example::start(own, &[&one, &other], &[]).finish();
    });
    step("40 media sessions", || {
        Example::start(program(User::CODEC, "media_sessions"), &[], &[]).finish();
    });
    step("three requests in flight", || requests::one_call_for_each_lock_and_buffer(&sync));
    step("planes", || {
        let [one, other] = buffers();
        Example::start(program(User::STUCK, "planes"), &[&one, &other], &[]).finish();
    });
    step("a read-only descriptor", || {
        Example::start(program(User::ROOT, "read_only_descriptor"), &[], &[]).finish();
    });
    step("memory until a buffer is removed", || {
        Example::start(program(User::ROOT, "memory_until_removed"), &[], &[]).finish();
    });
    step("a stopped service", || recovery::from_a_stopped_service(&stack));
    step("the C camera recovers", || recovery::of_the_camera(&sync, &mut stack));
    step("the C++ codec recovers", || recovery::of_the_codec(&sync, &mut stack));
    step("a C++ camera HAL", || recovery::of_a_camera_hal(&sync, &mut stack));
    step("recovery from Java", || {
        let [one, other] = buffers();
        let mut recovery = Example::start(java(User::PREVIEW, "Recovery"), &[&one, &other], &[]);
        assert_eq!(recovery.next(), 1, "it works");
        stack.kill_service().expect("kill");
        assert_eq!(recovery.next(), 2, "it knows of the death");
        stack.restart_service(&[]).expect("restart");
        assert_eq!(recovery.next(), 3, "it works again");
        recovery.finish();
    });
    step("the Rust client", || rust_client::works(&sync, &mut stack));
}

fn step(name: &str, step: impl FnOnce()) {
    let begin = std::time::Instant::now();
    step();
    println!("   {name}: ok, {:.1} s", begin.elapsed().as_secs_f64());
}

/// The last arguments of the camera and the codec.
fn size_and_hold(hold_millis: u32) -> [String; 2] {
    [SIZE.to_string(), hold_millis.to_string()]
}

/// Looks at the places of a camera.
struct Viewer {
    places: [(Group, Mapped<Read>); 2],
    last: [u32; 2],
}

impl Viewer {
    fn new(sync: &BufferSync, pixels: [&DmaBuf; 2]) -> Self {
        let open = |pixels: &DmaBuf| {
            let group = sync.open_group("examples/viewer", Options::default()).expect("open_group");
            let frame = group.map::<Read>(pixels).expect("map");
            (group, frame)
        };
        Self { places: pixels.map(open), last: [0; 2] }
    }

    /// The camera has its own pace: a frame may be missed, but is never torn and never older.
    fn look(&mut self, announced: u32) {
        let place = announced as usize % 2;
        let (group, frame) = &self.places[place];
        let grant = group.lock(PATIENCE).expect("lock");
        let bytes = frame.to_vec(&grant).expect("held");
        grant.unlock().expect("unlock");
        let (number, last) = (number_of(&bytes), self.last[place]);
        assert!(number >= announced && number >= last, "{number} after {announced} and {last}");
        assert_eq!(number as usize % 2, place, "frame {number}");
        check_frame(&bytes, number, |word| word).expect("whole");
        self.last[place] = number;
    }
}

fn start_camera(places: &[DmaBuf; 4], hold_millis: u32) -> Example {
    let places: Vec<&DmaBuf> = places.iter().collect();
    Example::start(program(User::CAMERA, "camera"), &places, &size_and_hold(hold_millis))
}

fn camera(sync: &BufferSync) {
    let places = buffers();
    let mut camera = start_camera(&places, 0);
    let mut viewer = Viewer::new(sync, [&places[0], &places[1]]);
    for nth in 1..=FRAMES {
        viewer.look(camera.next());
        camera.frame_done(nth);
    }
    camera.finish();
}

/// The number of the frame that begins with this word. The factor of `frame_word` is odd, so it exists.
fn number_of(bytes: &[u8]) -> u32 {
    let first = words(bytes).next().expect("not empty");
    let (factor, mut inverse) = (frame_word(1, 0), 1_u32);
    for _ in 0..5 {
        // Newton's method: each round doubles the number of correct bits.
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(factor.wrapping_mul(inverse)));
    }
    first.wrapping_mul(inverse)
}

/// A class of the examples in Java or Kotlin, in a JVM that starts quickly on an emulated machine.
fn java(user: User, class: &str) -> Command {
    let mut command = user.command("java");
    let class_path = [
        folder("clients/java"),
        folder("prefix/share/java/buffersync.jar"),
        folder("clients/kotlin"),
        folder("clients/kotlin/lib/*"),
    ];
    let library = folder("prefix/lib").into_os_string();
    let mut library_path = OsString::from("-Djava.library.path=");
    library_path.push(library);
    command
        .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m"])
        .args(["-XX:-UsePerfData", "-Xcheck:jni"])
        .arg(library_path)
        .arg("-cp")
        .arg(std::env::join_paths(class_path).expect("class path"))
        .arg(class);
    command
}
