/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import android.hardware.HardwareBuffer;
import android.os.ParcelFileDescriptor;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import vendor.buffersync.Access;
import vendor.buffersync.AndroidBuffers;
import vendor.buffersync.BufferSource;
import vendor.buffersync.BufferState;
import vendor.buffersync.BufferSync;
import vendor.buffersync.BufferSyncException;
import vendor.buffersync.Capabilities;
import vendor.buffersync.ErrorCode;
import vendor.buffersync.Event;
import vendor.buffersync.Fence;
import vendor.buffersync.Grant;
import vendor.buffersync.GroupOptions;
import vendor.buffersync.HoldFrom;
import vendor.buffersync.LockInTheWay;
import vendor.buffersync.LockStatus;
import vendor.buffersync.MappedBuffer;
import vendor.buffersync.PendingLock;
import vendor.buffersync.ReleaseFences;
import vendor.buffersync.SyncGroup;
import vendor.buffersync.WaitEnds;
import vendor.buffersync.Want;

/**
 * Every mistake that Java allows gets the promised exception, waits end when they are interrupted, and
 * lost objects are closed.
 *
 * <pre>Misuse DMABUF_FD DMABUF_FD MEMFD</pre>
 */
final class Misuse {
    /** After this time a call counts as hung. */
    private static final Duration HUNG = Duration.ofSeconds(60);

    private final BufferSync sync = BufferSync.connect();
    private final int oneFd;
    private final int otherFd;
    private final int memfd;
    private final BufferSource one;
    private final BufferSource other;
    /** A grant of such a group outlasts the test. */
    private final GroupOptions patient;

    private Misuse(int oneFd, int otherFd, int memfd) throws BufferSyncException {
        this.oneFd = oneFd;
        this.otherFd = otherFd;
        this.memfd = memfd;
        this.one = BufferSource.ofRawFd(oneFd);
        this.other = BufferSource.ofRawFd(otherFd);
        this.patient = GroupOptions.DEFAULT.withHoldLimit(sync.getCapabilities().getMaxHold());
    }

    /** A call that may fail. */
    private interface Call {
        void run() throws Exception;
    }

    private static BufferSyncException fails(ErrorCode code, Call call) throws Exception {
        try {
            call.run();
        } catch (BufferSyncException e) {
            if (e.getCode() != code) {
                throw new AssertionError("not " + code, e);
            }
            return e;
        }
        throw new AssertionError("no " + code);
    }

    private static void refuses(Class<? extends Exception> type, Call call) throws Exception {
        try {
            call.run();
        } catch (Exception e) {
            if (!type.isInstance(e)) {
                throw new AssertionError("not " + type, e);
            }
            return;
        }
        throw new AssertionError("no " + type);
    }

    private static void check(boolean condition, Object what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    public static void main(String[] args) throws Exception {
        Misuse misuse =
                new Misuse(
                        Integer.parseInt(args[0]),
                        Integer.parseInt(args[1]),
                        Integer.parseInt(args[2]));
        misuse.arguments();
        misuse.order();
        misuse.mappings();
        misuse.handles();
        misuse.evictions();
        misuse.growth();
        misuse.manyLocks();
        misuse.pending();
        misuse.inTheWay();
        misuse.holdFromConflict();
        misuse.threads();
        misuse.interruptions();
        misuse.interruptedGrowth();
        misuse.interruptedExchange();
        misuse.interruptedAndGranted();
        misuse.shutdown();
        misuse.fences();
        misuse.exchange();
        misuse.values();
        misuse.android();
        misuse.forgotten();
    }

    private SyncGroup open(Access access) throws BufferSyncException {
        SyncGroup group = sync.openGroup("misuse/java", patient);
        group.add(one, access);
        return group;
    }

    private void arguments() throws Exception {
        fails(ErrorCode.NO_SERVICE, () -> BufferSync.connect("/dev/binder", "no.such.IService/x"));
        Duration soon = Duration.ofMillis(1);
        fails(
                ErrorCode.NO_SERVICE,
                () -> BufferSync.waitForService("/dev/binder", "no.such.IService/x", soon));
        check(BufferSync.waitForService(soon).dump().contains("buffersync"), "no dump");
        fails(ErrorCode.INVALID_ARGUMENT, () -> sync.openGroup(""));
        refuses(NullPointerException.class, () -> sync.openGroup(null));
        refuses(
                IllegalArgumentException.class,
                () -> GroupOptions.DEFAULT.withHoldLimit(Duration.ZERO));
        check(sync.getCapabilities().getMaxHold().compareTo(HUNG) > 0, "capabilities");
        try (SyncGroup group = open(Access.READ);
                FileInputStream file = new FileInputStream("/dev/null")) {
            fails(ErrorCode.BAD_FD, () -> group.add(BufferSource.ofRawFd(-1), Access.READ));
            fails(ErrorCode.BAD_FD, () -> group.add(BufferSource.ofRawFd(9999), Access.READ));
            BufferSource nothing = BufferSource.of(new FileDescriptor());
            fails(ErrorCode.BAD_FD, () -> group.add(nothing, Access.READ));
            BufferSource noBuffer = BufferSource.of(file.getFD());
            fails(ErrorCode.NOT_DMABUF, () -> group.add(noBuffer, Access.READ));
            fails(ErrorCode.NOT_DMABUF, () -> group.map(noBuffer, Access.READ));
            BufferSource none = BufferSource.ofRawFd();
            fails(ErrorCode.INVALID_ARGUMENT, () -> group.add(none, Access.READ));
            fails(ErrorCode.ACCESS_CONFLICT, () -> group.add(one, Access.DMA_READ));
            fails(ErrorCode.UNKNOWN_BUFFER, () -> group.remove(1));
            refuses(NullPointerException.class, () -> group.add(one, null));
            refuses(NullPointerException.class, () -> group.add(null, Access.READ));
            refuses(NullPointerException.class, () -> BufferSource.of((FileDescriptor) null));
            refuses(IllegalArgumentException.class, () -> group.lock(HUNG.negated()));
            refuses(IllegalArgumentException.class, () -> group.lock(List.of(), HUNG));
            refuses(IllegalArgumentException.class, () -> group.tryLock(List.of()));
            refuses(IllegalArgumentException.class, () -> group.map(one, Access.DMA_READ));
            check(group.locks().isEmpty(), group.locks());
        }
    }

    private void order() throws Exception {
        SyncGroup group = open(Access.WRITE);
        try (SyncGroup rival = open(Access.WRITE)) {
            Grant grant = group.lock(null);
            fails(ErrorCode.ALREADY_LOCKED, () -> group.lock(HUNG));
            fails(ErrorCode.BUSY, group::removeAll);
            fails(ErrorCode.WOULD_BLOCK, rival::tryLock);
            PendingLock pending = rival.startLock(null);
            check(!pending.isGranted(), "granted to two");
            check(rival.pollEvent() == null, "an event of nothing");
            grant.close();
            grant.close();
            fails(ErrorCode.ENDED, grant::isEvicted);
            fails(ErrorCode.ENDED, grant::acquireFence);
            fails(ErrorCode.ENDED, () -> grant.grow(HUNG));
            fails(ErrorCode.ENDED, grant::downgrade);
            fails(ErrorCode.ENDED, () -> grant.unlock(ReleaseFences.NONE));
            check(Duration.ZERO.equals(grant.getTimeLeft()), "time left of nothing");
            Event event = null;
            while (event == null) {
                event = rival.pollEvent();
            }
            check(event.getType() == Event.Type.GRANTED && event.getDeadline() != null, event);
            try (Grant next = pending.await()) {
                check(next.getLock() == event.getLock(), "another grant");
                check(next.getTimeLeft().compareTo(HUNG) > 0, "time left");
                check(pending.await() == next && !pending.cancel(), "two grants of a lock");
                pending.close();
                check(!next.isEvicted() && rival.locks().size() == 1, "the grant is gone");
            }
        }
        FileDescriptor events = group.getEventDescriptor();
        check(events.valid() && events == group.getEventDescriptor(), "another descriptor");
        group.close();
        group.close();
        check(!events.valid(), "the descriptor of a closed group");
        fails(ErrorCode.CLOSED, () -> group.lock(null));
        fails(ErrorCode.CLOSED, () -> group.add(one, Access.READ));
        fails(ErrorCode.CLOSED, group::getEventDescriptor);
        fails(ErrorCode.CLOSED, group::pollEvent);
        fails(ErrorCode.CLOSED, group::locks);
    }

    private void mappings() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/map");
                SyncGroup foreign = open(Access.READ)) {
            MappedBuffer read = group.map(one, Access.READ).get(0);
            MappedBuffer write = group.map(other, Access.WRITE).get(0);
            Grant grant = group.lock(HUNG);
            ByteBuffer bytes = read.bytes(grant);
            check(bytes.capacity() == read.getSize() && bytes.isReadOnly(), "a view");
            refuses(ReadOnlyBufferException.class, () -> bytes.put(0, (byte) 1));
            fails(ErrorCode.ACCESS_CONFLICT, () -> read.writableBytes(grant));
            write.writableBytes(grant).put(0, (byte) 7);
            try (Grant shared = foreign.lock(HUNG)) {
                fails(ErrorCode.UNKNOWN_BUFFER, () -> read.bytes(shared));
            }
            grant.downgrade(List.of(write.getId()));
            check(write.bytes(grant).get(0) == 7, "what was written is gone");
            fails(ErrorCode.UNKNOWN_BUFFER, () -> write.writableBytes(grant));
            grant.unlockBuffers(List.of(write.getId()), ReleaseFences.NONE);
            fails(ErrorCode.UNKNOWN_BUFFER, () -> write.bytes(grant));
            read.bytes(grant);
            grant.close();
            fails(ErrorCode.ENDED, () -> read.bytes(grant));
        }
    }

    /** A handle has several buffers, one of them twice, and a descriptor of metadata. */
    private void handles() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/handle");
                FileInputStream file = new FileInputStream("/proc/self/fd/" + memfd)) {
            BufferSource handle = BufferSource.ofRawFd(memfd, otherFd, oneFd, otherFd);
            List<Long> ids = group.add(handle, Access.WRITE);
            check(ids.size() == 2, ids);
            List<MappedBuffer> mapped = group.map(handle, Access.WRITE);
            check(mapped.size() == 2, mapped);
            for (int at = 0; at < 2; at++) {
                check(mapped.get(at).getId() == ids.get(at), mapped);
            }
            // Each mapping shows the buffer of its id.
            MappedBuffer second = group.map(one, Access.READ).get(0);
            check(second.getId() == ids.get(1), second);
            try (Grant grant = group.lock(HUNG)) {
                mapped.get(0).writableBytes(grant).put(0, (byte) 1);
                mapped.get(1).writableBytes(grant).put(0, (byte) 2);
                check(second.bytes(grant).get(0) == 2, "another buffer");
            }
            BufferSource memory = BufferSource.of(file.getFD(), file.getFD());
            MappedBuffer alone = group.map(memory, Access.READ).get(0);
            check(!ids.contains(alone.getId()), "a memfd beside a dma-buf is no buffer");
            fails(ErrorCode.BAD_FD, () -> group.map(BufferSource.ofRawFd(oneFd, 9999), Access.READ));
        }
    }

    private void evictions() throws Exception {
        GroupOptions brief = GroupOptions.DEFAULT.withHoldLimit(Duration.ofMillis(100));
        try (SyncGroup group = sync.openGroup("misuse/brief", brief);
                SyncGroup next = open(Access.WRITE)) {
            MappedBuffer mapped = group.map(one, Access.WRITE).get(0);
            check(group.getHoldLimit().toMillis() == 100, "hold limit");
            Grant grant = group.lock(HUNG);
            while (!grant.isEvicted()) {
                Thread.sleep(5);
            }
            check(group.getEvictions() == 1, "evictions");
            fails(ErrorCode.EVICTED, () -> mapped.bytes(grant));
            fails(ErrorCode.EVICTED, () -> grant.grow(HUNG));
            fails(ErrorCode.EVICTED, grant::close);
            grant.close();
            try (Grant again = next.lock(HUNG)) {
                BufferState state = again.getBuffer(mapped.getId());
                check(state.isEvicted() && state.isTorn(), "not marked");
            }
            try (Grant repaired = next.lock(HUNG)) {
                BufferState state = repaired.getBuffer(mapped.getId());
                check(!state.isEvicted() && !state.isTorn(), "still marked");
            }
        }
    }

    private void growth() throws Exception {
        try (SyncGroup group = open(Access.WRITE)) {
            try (Grant grant = group.lock(HUNG)) {
                fails(ErrorCode.ALREADY_LOCKED, () -> grant.grow(HUNG));
                fails(ErrorCode.ALREADY_LOCKED, grant::tryGrow);
                group.add(other, Access.READ);
                grant.grow(HUNG);
                check(grant.getBuffers().size() == 2, "not grown");
            }
        }
    }

    /** Many locks in one group. */
    private void manyLocks() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/many", patient);
                SyncGroup rival = sync.openGroup("misuse/rival", patient)) {
            long a = group.add(one, Access.WRITE).get(0);
            long b = group.add(other, Access.WRITE).get(0);
            rival.add(one, Access.WRITE);
            List<Want> writeA = List.of(new Want(a, Access.WRITE));
            List<Want> readA = List.of(new Want(a, Access.READ));
            List<Want> readB = List.of(new Want(b, Access.READ));
            check(sync.getCapabilities().getMaxLocksPerGroup() >= 3, "capabilities");
            List<Want> unknown = List.of(new Want(-1, Access.READ));
            fails(ErrorCode.UNKNOWN_BUFFER, () -> group.tryLock(unknown));
            List<Want> mixed = List.of(new Want(a, Access.READ), new Want(a, Access.DMA_READ));
            fails(ErrorCode.ACCESS_CONFLICT, () -> group.tryLock(mixed));

            Grant first = group.lock(writeA, HUNG);
            Grant second = group.tryLock(readB);
            fails(ErrorCode.ALREADY_LOCKED, () -> group.startLock(readA, HUNG));
            fails(ErrorCode.ALREADY_LOCKED, () -> group.lock(HUNG));
            List<LockStatus> locks = group.locks();
            check(locks.size() == 2 && second.getLock() > first.getLock(), locks);
            check(locks.get(0).getBuffers().equals(first.getBuffers()), locks);
            check(first.acquireFence() == null && first.acquireFence(a) == null, "a fence");
            fails(ErrorCode.UNKNOWN_BUFFER, () -> first.acquireFence(b));
            fails(ErrorCode.UNKNOWN_BUFFER, () -> first.acquireFence(0));

            PendingLock waits = rival.startLock(readA, null);
            check(rival.locks().get(0).isWaiting(), "granted to two");
            Event contended = group.pollEvent();
            check(contended.getType() == Event.Type.CONTENDED, contended);
            check(contended.getLock() == first.getLock(), contended);
            check(contended.getDeadline().equals(group.locks().get(0).getDeadline()), "deadline");
            first.downgrade();
            waits.await().close();
            check(rival.locks().isEmpty(), rival.locks());

            Fence none = fence(group);
            fails(
                    ErrorCode.BAD_FENCE,
                    () -> first.unlockBuffers(List.of(a), ReleaseFences.of(none)));
            refuses(IllegalStateException.class, none::detachRawFd);
            refuses(
                    IllegalArgumentException.class,
                    () -> first.unlockBuffers(List.of(), ReleaseFences.NONE));
            fails(
                    ErrorCode.UNKNOWN_BUFFER,
                    () -> first.unlockBuffers(List.of(b), ReleaseFences.NONE));
            first.grow(readB, HUNG);
            check(first.getBuffers().size() == 2, first);
            first.unlockBuffers(List.of(a), ReleaseFences.NONE);
            check(first.getBuffers().size() == 1 && first.getBuffer(a) == null, first);
            Grant third = first.unlockAndLock(ReleaseFences.NONE, writeA, HUNG);
            fails(ErrorCode.ENDED, first::isEvicted);
            first.close();
            check(group.locks().get(1).getLock() == third.getLock(), "not the newest");
            second.close();
            // To unlock all buffers of a grant ends it.
            third.unlockBuffers(List.of(a), ReleaseFences.NONE);
            check(group.locks().isEmpty() && third.getBuffers().isEmpty(), "still locked");
            third.close();
        }
    }

    /** Locks that are started. */
    private void pending() throws Exception {
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup waiter = open(Access.READ)) {
            try (Grant held = holder.lock(HUNG)) {
                PendingLock taken = waiter.startLock(HUNG);
                check(taken.cancel() && !taken.cancel(), "cancelled twice");
                fails(ErrorCode.ENDED, taken::isGranted);
                fails(ErrorCode.ENDED, taken::await);
                PendingLock late = waiter.startLock(Duration.ofMillis(20));
                fails(ErrorCode.TIMED_OUT, late::await);
                // Whoever asks again is told again.
                fails(ErrorCode.TIMED_OUT, late::await);
                waiter.startLock(HUNG).close();
                check(waiter.locks().isEmpty() && !held.isEvicted(), "still waits");
            }
            // Granted at once, and nobody wants it.
            PendingLock unclaimed = waiter.startLock(null);
            check(unclaimed.isGranted() && !unclaimed.cancel(), "not granted");
            unclaimed.close();
            check(waiter.locks().isEmpty(), "still granted");
            fails(ErrorCode.ENDED, unclaimed::await);
        }
    }

    /** Errors and events name the lock that is in the way. */
    private void inTheWay() throws Exception {
        try (SyncGroup holder = sync.openGroup("misuse/holder", patient);
                SyncGroup waiter = open(Access.READ)) {
            holder.add(one, Access.WRITE);
            Grant held = holder.lock(HUNG);
            Duration soon = Duration.ofMillis(20);
            BufferSyncException late = fails(ErrorCode.TIMED_OUT, () -> waiter.lock(soon));
            LockInTheWay by = late.getLockInTheWay();
            check("misuse/holder".equals(by.getOwner()), late);
            check(by.getLock() == held.getLock(), late);
            check(late.getMessage().contains("misuse/holder"), late);
            PendingLock pending = waiter.startLock(soon);
            Event event = null;
            while (event == null) {
                event = waiter.pollEvent();
            }
            check(event.getType() == Event.Type.TIMED_OUT, event);
            check(event.getLock() == pending.getLock(), event);
            LockInTheWay told = event.getLockInTheWay();
            check(told.getGroup() == by.getGroup() && told.getLock() == by.getLock(), event);
            check(told.getOwner() == null, event);
            check("misuse/holder".equals(waiter.getNameOf(told.getGroup())), event);
            check(waiter.getNameOf(-1) == null, "a name of nobody");
            held.close();
            check(fails(ErrorCode.ENDED, held::isEvicted).getLockInTheWay() == null, "of nobody");
        }
    }

    /** A grant that nobody else wants has no deadline. */
    private void holdFromConflict() throws Exception {
        GroupOptions paused = patient.withHoldFrom(HoldFrom.CONFLICT);
        try (SyncGroup display = sync.openGroup("misuse/display", paused);
                SyncGroup camera = open(Access.WRITE)) {
            display.add(one, Access.READ);
            try (Grant shown = display.lock(HUNG)) {
                check(shown.getTimeLeft() == null, "a deadline without a conflict");
                check(display.locks().get(0).getDeadline() == null, display.locks());
                try (PendingLock next = camera.startLock(HUNG)) {
                    Event event = display.pollEvent();
                    check(event.getDeadline() != null, event);
                    check(shown.getTimeLeft() != null && !next.isGranted(), "no deadline");
                }
            }
        }
    }

    /** Waits that another thread ends. */
    private void threads() throws Exception {
        for (ErrorCode code : new ErrorCode[] {ErrorCode.CANCELLED, ErrorCode.CLOSED}) {
            SyncGroup waiter = open(Access.WRITE);
            try (SyncGroup holder = open(Access.WRITE);
                    Grant held = holder.lock(HUNG)) {
                PendingLock pending = waiter.startLock(null);
                Waiting waiting = new Waiting(pending::await);
                if (code == ErrorCode.CANCELLED) {
                    check(pending.cancel(), "not cancelled");
                } else {
                    waiter.close();
                }
                Exception end = waiting.end();
                // The other thread may have come too late to wait.
                boolean ended = code == ErrorCode.CANCELLED && isCode(end, ErrorCode.ENDED);
                check(isCode(end, code) || ended, end);
                check(!held.isEvicted(), "evicted");
            }
            waiter.close();
        }
    }

    private static boolean isCode(Exception e, ErrorCode code) {
        return e instanceof BufferSyncException && ((BufferSyncException) e).getCode() == code;
    }

    /** A thread that waits. */
    private static final class Waiting {
        private final AtomicReference<Exception> end = new AtomicReference<>();
        private final AtomicReference<Object> result = new AtomicReference<>();
        private final CountDownLatch begun = new CountDownLatch(1);
        private volatile boolean marked;
        private final Thread thread;

        Waiting(Callable<?> call) throws InterruptedException {
            thread =
                    new Thread(
                            () -> {
                                begun.countDown();
                                try {
                                    result.set(call.call());
                                } catch (Exception e) {
                                    end.set(e);
                                }
                                marked = Thread.currentThread().isInterrupted();
                            });
            thread.start();
            begun.await();
        }

        void interrupt() {
            thread.interrupt();
        }

        /** How it ended; null if it returned. */
        Exception end() throws InterruptedException {
            thread.join(HUNG.toMillis());
            check(!thread.isAlive(), "it still waits");
            return end.get();
        }

        Object result() throws InterruptedException {
            check(end() == null, end.get());
            return result.get();
        }

        /** Checks that an interruption ended it. */
        void isInterrupted() throws InterruptedException {
            check(end() instanceof InterruptedException, end.get());
            check(!marked, "the thread is still marked");
        }
    }

    /** Waits until a lock of the group waits, as the service says. */
    private static void untilQueued(SyncGroup group) throws Exception {
        long begin = System.nanoTime();
        while (group.locks().stream().noneMatch(LockStatus::isWaiting)) {
            check(System.nanoTime() - begin < HUNG.toNanos(), "never queued");
            Thread.sleep(1);
        }
    }

    /** An interruption ends a wait at once, and leaves no lock. The holder never unlocks. */
    private void interruptions() throws Exception {
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup waiter = open(Access.READ);
                SyncGroup quiet = open(Access.READ);
                Grant held = holder.lock(HUNG)) {
            for (Duration timeout : new Duration[] {null, Duration.ofDays(1)}) {
                Waiting lock = new Waiting(() -> waiter.lock(timeout));
                untilQueued(waiter);
                lock.interrupt();
                lock.isInterrupted();
                check(waiter.locks().isEmpty(), "still waits");
            }

            PendingLock pending = waiter.startLock(null);
            Waiting await = new Waiting(pending::await);
            await.interrupt();
            await.isInterrupted();
            check(waiter.locks().isEmpty(), "still waits");
            fails(ErrorCode.ENDED, pending::isGranted);

            // Two threads wait in one group, and one is interrupted.
            PendingLock first = waiter.startLock(null);
            PendingLock second = waiter.startLock(null);
            Waiting stays = new Waiting(first::await);
            Waiting goes = new Waiting(second::await);
            goes.interrupt();
            goes.isInterrupted();
            List<LockStatus> left = waiter.locks();
            check(left.size() == 1 && left.get(0).getLock() == first.getLock(), left);
            check(first.cancel() && stays.end() instanceof BufferSyncException, stays.end());

            Waiting service =
                    new Waiting(() -> BufferSync.waitForService("/dev/binder", "a.b.IC/x", null));
            service.interrupt();
            service.isInterrupted();

            Waiting signal =
                    new Waiting(
                            () -> {
                                // This group gets no events.
                                try (Fence never = fence(quiet)) {
                                    never.await(null);
                                }
                                return null;
                            });
            signal.interrupt();
            signal.isInterrupted();

            // A thread that is interrupted before asks for nothing.
            Thread.currentThread().interrupt();
            refuses(InterruptedException.class, () -> waiter.lock(HUNG));
            Thread.currentThread().interrupt();
            refuses(InterruptedException.class, () -> held.grow(HUNG));
            Thread.currentThread().interrupt();
            refuses(InterruptedException.class, () -> fence(waiter).await(HUNG));
            Thread.currentThread().interrupt();
            PendingLock early = waiter.startLock(HUNG);
            refuses(InterruptedException.class, early::await);
            check(!Thread.currentThread().isInterrupted(), "still marked");
            check(waiter.locks().isEmpty() && !held.isEvicted(), waiter.locks());
        }
    }

    /** An interruption ends a growth, and the grant goes on. */
    private void interruptedGrowth() throws Exception {
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup grower = sync.openGroup("misuse/grower", patient)) {
            Grant held = holder.lock(HUNG);
            long id = grower.add(other, Access.WRITE).get(0);
            Grant grant = grower.lock(HUNG);
            grower.add(one, Access.READ);
            Waiting growth =
                    new Waiting(
                            () -> {
                                grant.grow(null);
                                return null;
                            });
            untilQueued(grower);
            fails(ErrorCode.BUSY, () -> grant.unlockBuffers(List.of(id), ReleaseFences.NONE));
            growth.interrupt();
            growth.isInterrupted();
            check(!grower.locks().get(0).isWaiting(), grower.locks());
            check(grant.getBuffers().size() == 1 && !grant.isEvicted(), grant);
            held.close();
            grant.grow(HUNG);
            check(grant.getBuffers().size() == 2, grant);
            grant.close();
        }
    }

    /** An interruption ends an exchange: the old grant has ended, and nothing is locked. */
    private void interruptedExchange() throws Exception {
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup waiter = sync.openGroup("misuse/exchange", patient);
                Grant held = holder.lock(HUNG)) {
            waiter.add(other, Access.WRITE);
            Grant grant = waiter.lock(HUNG);
            waiter.add(one, Access.READ);
            Waiting exchange = new Waiting(() -> grant.unlockAndLock(ReleaseFences.NONE, null));
            untilQueued(waiter);
            exchange.interrupt();
            exchange.isInterrupted();
            check(waiter.locks().isEmpty() && !held.isEvicted(), waiter.locks());
            fails(ErrorCode.ENDED, grant::isEvicted);
            grant.close();
        }
    }

    /** Granted and interrupted at the same time: the grant is returned or unlocked, and never lost. */
    private void interruptedAndGranted() throws Exception {
        int granted = 0;
        int interrupted = 0;
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup waiter = open(Access.READ)) {
            for (int round = 0; round < 100; round++) {
                Grant held = holder.lock(HUNG);
                Waiting lock = new Waiting(() -> waiter.lock(null));
                untilQueued(waiter);
                Thread unlock =
                        new Thread(
                                () -> {
                                    try {
                                        held.close();
                                    } catch (BufferSyncException e) {
                                        throw new AssertionError(e);
                                    }
                                });
                unlock.start();
                if (round % 2 == 0) {
                    Thread.yield();
                }
                lock.interrupt();
                unlock.join();
                if (lock.end() == null) {
                    granted++;
                    try (Grant grant = (Grant) lock.result()) {
                        check(waiter.locks().size() == 1 && !grant.isEvicted(), grant);
                    }
                } else {
                    interrupted++;
                    check(lock.end() instanceof InterruptedException, lock.end());
                }
                check(waiter.locks().isEmpty(), waiter.locks());
            }
        }
        System.err.println("   interrupted: " + interrupted + ", granted: " + granted);
        WaitEnds.check();
    }

    /** A worker of an executor can be stopped. */
    private void shutdown() throws Exception {
        try (SyncGroup holder = open(Access.WRITE);
                SyncGroup waiter = open(Access.READ);
                Grant held = holder.lock(HUNG)) {
            ExecutorService executor = Executors.newFixedThreadPool(1);
            executor.submit(() -> waiter.lock(null));
            untilQueued(waiter);
            executor.shutdownNow();
            boolean ended = executor.awaitTermination(HUNG.toMillis(), TimeUnit.MILLISECONDS);
            check(ended && waiter.locks().isEmpty() && !held.isEvicted(), waiter.locks());
        }
    }

    /** A descriptor that is no sync_file, and becomes readable with the group's events. */
    private static Fence fence(SyncGroup group) throws BufferSyncException {
        return Fence.of(group.getEventDescriptor());
    }

    private void fences() throws Exception {
        try (SyncGroup group = open(Access.DMA_WRITE)) {
            Grant grant = group.lock(HUNG);
            check(grant.acquireFence() == null, "a fence of nobody");
            // A fence is closed exactly once.
            Fence none = fence(group);
            fails(ErrorCode.BAD_FENCE, () -> grant.unlock(ReleaseFences.of(none)));
            refuses(IllegalStateException.class, none::detachRawFd);
            ReleaseFences foreign = ReleaseFences.NONE.and(1000000, fence(group));
            fails(ErrorCode.BAD_FENCE, () -> grant.unlock(foreign));
            refuses(IllegalStateException.class, () -> grant.unlock(foreign));
            refuses(IllegalArgumentException.class, () -> ReleaseFences.NONE.and(0, none));
            refuses(IllegalArgumentException.class, () -> foreign.and(1000000, none));
            // All fences are closed, also if one was closed before.
            Fence open = fence(group);
            Fence closed = fence(group);
            closed.close();
            ReleaseFences both = ReleaseFences.of(open).and(1, closed);
            refuses(IllegalStateException.class, () -> grant.unlock(both));
            refuses(IllegalStateException.class, open::detachRawFd);
            check(!grant.isEvicted(), "the grant is gone");
            grant.close();
            Fence late = fence(group);
            fails(ErrorCode.ENDED, () -> grant.unlock(ReleaseFences.of(late)));
            refuses(IllegalStateException.class, late::detachRawFd);
            try (Fence pending = fence(group)) {
                fails(ErrorCode.TIMED_OUT, () -> pending.await(Duration.ofMillis(20)));
                fails(ErrorCode.TIMED_OUT, () -> pending.await(Duration.ZERO));
            }
            fails(ErrorCode.BAD_FD, () -> Fence.of(new FileDescriptor()));
            fails(ErrorCode.BAD_FD, () -> late.await(HUNG));
            refuses(IllegalArgumentException.class, () -> Fence.adoptRawFd(-1));
        }
    }

    /** From one lock to the next in one call. */
    private void exchange() throws Exception {
        try (SyncGroup group = open(Access.DMA_WRITE)) {
            Grant grant = group.lock(HUNG);
            Fence none = fence(group);
            ReleaseFences fences = ReleaseFences.of(none);
            refuses(
                    IllegalArgumentException.class,
                    () -> grant.unlockAndLock(fences, HUNG.negated()));
            fails(ErrorCode.BAD_FENCE, () -> grant.unlockAndLock(fences, HUNG));
            check(!grant.isEvicted(), "the grant is gone");
            try (Grant second = grant.unlockAndLock(ReleaseFences.NONE, HUNG)) {
                check(second.getLock() > grant.getLock(), "the same grant again");
                fails(ErrorCode.ENDED, () -> grant.unlockAndLock(ReleaseFences.NONE, HUNG));
                try (Grant third = second.unlockAndLock(ReleaseFences.NONE, null)) {
                    check(third.getBuffers().size() == 1, "not granted");
                }
            }
        }
    }

    /** Values are equal by what they say, and say what they are. */
    private void values() throws Exception {
        try (SyncGroup group = open(Access.READ);
                SyncGroup second = open(Access.READ);
                Grant grant = group.lock(HUNG);
                Grant shared = second.lock(HUNG)) {
            BufferState state = grant.getBuffers().get(0);
            Want want = new Want(3, Access.WRITE);
            GroupOptions options = GroupOptions.DEFAULT.withHoldFrom(HoldFrom.CONFLICT);
            Capabilities capabilities = sync.getCapabilities();
            Object[][] same = {
                {want, new Want(3, Access.WRITE)},
                {options, GroupOptions.DEFAULT.withHoldFrom(HoldFrom.CONFLICT)},
                {state, shared.getBuffers().get(0)},
                {capabilities, sync.getCapabilities()},
                {group.locks(), group.locks()},
            };
            for (Object[] pair : same) {
                check(pair[0].equals(pair[1]) && pair[0].hashCode() == pair[1].hashCode(), pair[0]);
                check(!pair[0].equals("something else"), pair[0]);
            }
            check(!want.equals(new Want(3, Access.READ)), want);
            check(!want.equals(new Want(4, Access.WRITE)), want);
            check(!options.equals(GroupOptions.DEFAULT), options);
            check(!options.equals(options.withImplicitFences()), options);
            check(!options.equals(options.withHoldLimit(HUNG)), options);
            check(!group.locks().get(0).equals(new Object()), "equal to anything");
            Map<Object, String> texts =
                    Map.of(
                            want, "Want[WRITE of buffer 3]",
                            options, "GroupOptions[hold default from CONFLICT]",
                            state, "BufferState[buffer " + state.getId(),
                            grant, "Grant[lock " + grant.getLock(),
                            group, "SyncGroup[misuse/java]",
                            sync, "BufferSync[vendor.buffersync.IBufferSync/default]",
                            capabilities, "Capabilities[release fences: true",
                            group.locks().get(0), "LockStatus[lock " + grant.getLock());
            texts.forEach((value, text) -> check(value.toString().startsWith(text), value));
        }
    }

    /** The stand-ins for Android's classes, as far as a plain JVM can use them. */
    private void android() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/android")) {
            HardwareBuffer buffer = new HardwareBuffer();
            fails(
                    ErrorCode.UNSUPPORTED,
                    () -> group.add(AndroidBuffers.of(buffer), Access.READ));
            buffer.close();
            fails(ErrorCode.BAD_FD, () -> group.add(AndroidBuffers.of(buffer), Access.READ));
            ParcelFileDescriptor fd = ParcelFileDescriptor.adoptFd(oneFd);
            BufferSource source = AndroidBuffers.of(fd, ParcelFileDescriptor.adoptFd(otherFd));
            check(group.add(source, Access.READ).size() == 2, "no buffers");
            fd.detachFd();
            fails(ErrorCode.BAD_FD, () -> group.add(source, Access.READ));
            ParcelFileDescriptor sent = AndroidBuffers.toParcelFileDescriptor(fence(group));
            try (Fence received = AndroidBuffers.fence(sent)) {
                fails(ErrorCode.TIMED_OUT, () -> received.await(Duration.ZERO));
            }
        }
    }

    /** Lost groups, fences and mappings release their descriptors and memory, and lost locks end. */
    private void forgotten() throws Exception {
        collect();
        int before = descriptors();
        for (int round = 0; round < 20; round++) {
            SyncGroup group = open(Access.READ);
            fence(group);
            sync.openGroup("misuse/map").map(one, Access.READ);
        }
        check(descriptors() >= before + 20, "nothing was opened");
        for (int patience = 0; descriptors() > before; patience++) {
            check(patience < 100, "descriptors leak: " + descriptors() + " of " + before);
            collect();
        }
        try (SyncGroup group = open(Access.WRITE);
                SyncGroup waiter = open(Access.WRITE)) {
            try (Grant grant = group.lock(HUNG)) {
                check(grant.getBuffers().size() == 1, "not granted");
                waiter.startLock(null);
                for (int patience = 0; !waiter.locks().isEmpty(); patience++) {
                    check(patience < 100, "a lock that is lost still waits");
                    collect();
                }
            }
        }
    }

    private static void collect() throws InterruptedException {
        System.gc();
        Thread.sleep(50);
    }

    private static int descriptors() {
        return new File("/proc/self/fd").list().length;
    }
}
