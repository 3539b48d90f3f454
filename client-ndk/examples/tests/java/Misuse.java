/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import android.hardware.HardwareBuffer;
import android.os.ParcelFileDescriptor;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.time.Duration;
import java.util.Map;
import vendor.buffersync.Access;
import vendor.buffersync.AndroidBuffers;
import vendor.buffersync.BufferSource;
import vendor.buffersync.BufferState;
import vendor.buffersync.BufferSync;
import vendor.buffersync.BufferSyncException;
import vendor.buffersync.ErrorCode;
import vendor.buffersync.Event;
import vendor.buffersync.Fence;
import vendor.buffersync.Grant;
import vendor.buffersync.GroupOptions;
import vendor.buffersync.MappedBuffer;
import vendor.buffersync.SyncGroup;

/**
 * Every mistake that Java allows gets the promised exception, and lost objects are closed.
 *
 * <pre>Misuse DMABUF_FD DMABUF_FD</pre>
 */
final class Misuse {
    /** After this time a call counts as hung. */
    private static final Duration HUNG = Duration.ofSeconds(60);

    private final BufferSync sync = BufferSync.connect();
    private final BufferSource one;
    private final BufferSource other;

    private Misuse(BufferSource one, BufferSource other) throws IOException {
        this.one = one;
        this.other = other;
    }

    /** A call that may fail. */
    private interface Call {
        void run() throws Exception;
    }

    private static void fails(ErrorCode code, Call call) throws Exception {
        try {
            call.run();
        } catch (BufferSyncException e) {
            if (e.code() != code) {
                throw new AssertionError("not " + code, e);
            }
            return;
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

    private static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    public static void main(String[] args) throws Exception {
        BufferSource one = BufferSource.ofFd(Integer.parseInt(args[0]));
        BufferSource other = BufferSource.ofFd(Integer.parseInt(args[1]));
        Misuse misuse = new Misuse(one, other);
        misuse.arguments();
        misuse.order();
        misuse.mappings();
        misuse.evictions();
        misuse.growth();
        misuse.threads();
        misuse.fences();
        misuse.exchange();
        misuse.manyLocks();
        misuse.android();
        misuse.forgotten();
    }

    private SyncGroup open(Access access) throws BufferSyncException {
        SyncGroup group = sync.openGroup("misuse/java");
        group.add(one, access);
        return group;
    }

    private void arguments() throws Exception {
        fails(ErrorCode.NO_SERVICE, () -> BufferSync.connect("/dev/binder", "no.such.IService/x"));
        fails(ErrorCode.INVALID_ARGUMENT, () -> sync.openGroup(""));
        refuses(NullPointerException.class, () -> sync.openGroup(null));
        refuses(
                IllegalArgumentException.class,
                () -> GroupOptions.DEFAULT.withHoldLimit(Duration.ZERO));
        check(sync.capabilities().maxHold().compareTo(HUNG) > 0, "capabilities");
        check(sync.dump().contains("buffersync"), "dump");
        try (SyncGroup group = open(Access.READ)) {
            fails(ErrorCode.BAD_FD, () -> group.add(BufferSource.ofFd(-1), Access.READ));
            fails(ErrorCode.BAD_FD, () -> group.add(BufferSource.ofFd(9999), Access.READ));
            fails(ErrorCode.NOT_DMABUF, () -> group.add(BufferSource.ofFd(0), Access.READ));
            fails(ErrorCode.INVALID_ARGUMENT, () -> group.add(BufferSource.ofFd(), Access.READ));
            fails(ErrorCode.ACCESS_CONFLICT, () -> group.add(one, Access.DMA_READ));
            fails(ErrorCode.UNKNOWN_BUFFER, () -> group.remove(1));
            refuses(NullPointerException.class, () -> group.add(one, null));
            refuses(NullPointerException.class, () -> group.add(() -> null, Access.READ));
            refuses(IllegalArgumentException.class, () -> group.lock(HUNG.negated()));
            refuses(IllegalArgumentException.class, () -> group.map(one, Access.DMA_READ));
        }
    }

    private void order() throws Exception {
        SyncGroup group = open(Access.WRITE);
        try (SyncGroup rival = open(Access.WRITE)) {
            fails(ErrorCode.NOT_LOCKED, group::grant);
            fails(ErrorCode.NOT_QUEUED, group::cancel);
            Grant grant = group.lock(null);
            fails(ErrorCode.ALREADY_LOCKED, () -> group.lock(HUNG));
            fails(ErrorCode.BUSY, group::removeAll);
            fails(ErrorCode.WOULD_BLOCK, rival::tryLock);
            fails(ErrorCode.TIMED_OUT, () -> rival.lock(Duration.ofMillis(20)));
            check(rival.startLock(null) == null, "granted to two");
            check(rival.pollEvent() == null, "an event of nothing");
            grant.close();
            grant.close();
            fails(ErrorCode.NOT_LOCKED, grant::isEvicted);
            fails(ErrorCode.NOT_LOCKED, grant::acquireFence);
            fails(ErrorCode.NOT_LOCKED, () -> grant.grow(HUNG));
            Event event = null;
            while (event == null) {
                event = rival.pollEvent();
            }
            check(event.type() == Event.Type.GRANTED, event.toString());
            try (Grant next = rival.grant()) {
                check(next.id() == event.grant(), "another grant");
                check(next.timeLeft().compareTo(HUNG) > 0, "time left");
            }
        }
        group.close();
        group.close();
        fails(ErrorCode.CLOSED, () -> group.lock(null));
        fails(ErrorCode.CLOSED, () -> group.add(one, Access.READ));
        fails(ErrorCode.CLOSED, group::eventFd);
        fails(ErrorCode.CLOSED, group::pollEvent);
    }

    private void mappings() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/map");
                SyncGroup foreign = open(Access.READ)) {
            MappedBuffer mapped = group.map(one, Access.READ);
            Grant grant = group.lock(HUNG);
            ByteBuffer bytes = mapped.bytes(grant);
            check(bytes.capacity() == mapped.size() && bytes.isReadOnly(), "a view");
            refuses(ReadOnlyBufferException.class, () -> bytes.put(0, (byte) 1));
            try (Grant shared = foreign.lock(HUNG)) {
                fails(ErrorCode.UNKNOWN_BUFFER, () -> mapped.bytes(shared));
            }
            grant.close();
            fails(ErrorCode.NOT_LOCKED, () -> mapped.bytes(grant));
        }
    }

    private void evictions() throws Exception {
        GroupOptions brief = GroupOptions.DEFAULT.withHoldLimit(Duration.ofMillis(100));
        try (SyncGroup group = sync.openGroup("misuse/brief", brief);
                SyncGroup next = open(Access.WRITE)) {
            MappedBuffer mapped = group.map(one, Access.WRITE);
            check(group.holdLimit().toMillis() == 100, "hold limit");
            Grant grant = group.lock(HUNG);
            while (!grant.isEvicted()) {
                Thread.sleep(5);
            }
            fails(ErrorCode.EVICTED, () -> mapped.bytes(grant));
            fails(ErrorCode.EVICTED, grant::close);
            try (Grant again = next.lock(HUNG)) {
                BufferState state = again.buffer(mapped.id());
                check(state.isEvicted() && state.isTorn(), "not marked");
            }
            try (Grant repaired = next.lock(HUNG)) {
                BufferState state = repaired.buffer(mapped.id());
                check(!state.isEvicted() && !state.isTorn(), "still marked");
            }
        }
    }

    private void growth() throws Exception {
        try (SyncGroup group = open(Access.WRITE)) {
            try (Grant grant = group.lock(HUNG)) {
                fails(ErrorCode.ALREADY_LOCKED, () -> grant.grow(HUNG));
                group.add(other, Access.READ);
                grant.grow(HUNG);
                check(grant.buffers().size() == 2, "not grown");
            }
        }
    }

    private void threads() throws Exception {
        for (ErrorCode code : new ErrorCode[] {ErrorCode.CANCELLED, ErrorCode.CLOSED}) {
            SyncGroup waiter = open(Access.WRITE);
            try (SyncGroup holder = open(Access.WRITE);
                    Grant held = holder.lock(HUNG)) {
                BufferSyncException[] result = new BufferSyncException[1];
                Thread thread =
                        new Thread(
                                () -> {
                                    try {
                                        waiter.lock(null).close();
                                    } catch (BufferSyncException e) {
                                        result[0] = e;
                                    }
                                });
                thread.start();
                if (code == ErrorCode.CANCELLED) {
                    cancelWhenQueued(waiter);
                } else {
                    waiter.close();
                }
                thread.join();
                check(result[0] != null && result[0].code() == code, "no " + code);
                check(!held.isEvicted(), "evicted");
            }
            waiter.close();
        }
    }

    private static void cancelWhenQueued(SyncGroup waiter) throws Exception {
        for (int patience = 0; ; patience++) {
            try {
                waiter.cancel();
                return;
            } catch (BufferSyncException e) {
                check(e.code() == ErrorCode.NOT_QUEUED && patience < 6000, "never queued");
            }
            Thread.sleep(10);
        }
    }

    private void fences() throws Exception {
        try (SyncGroup group = open(Access.DMA_WRITE)) {
            Grant grant = group.lock(HUNG);
            check(grant.acquireFence() == null, "a fence of nobody");
            // A pipe is not a sync_file. A fence is closed exactly once.
            Fence none = Fence.ofFd(group.eventFd());
            fails(ErrorCode.BAD_FENCE, () -> grant.unlock(none));
            refuses(IllegalStateException.class, none::detachFd);
            Fence second = Fence.ofFd(group.eventFd());
            fails(ErrorCode.BAD_FENCE, () -> grant.unlock(Map.of(1000000L, second)));
            check(!grant.isEvicted(), "the grant is gone");
            grant.close();
            Fence late = Fence.ofFd(group.eventFd());
            fails(ErrorCode.NOT_LOCKED, () -> grant.unlock(late));
            try (Fence pending = Fence.ofFd(group.eventFd())) {
                fails(ErrorCode.TIMED_OUT, () -> pending.await(Duration.ofMillis(20)));
            }
            fails(ErrorCode.BAD_FD, () -> Fence.ofFd(9999));
        }
    }

    /** From one lock to the next in one call. */
    private void exchange() throws Exception {
        try (SyncGroup group = open(Access.DMA_WRITE)) {
            Grant grant = group.lock(HUNG);
            Fence none = Fence.ofFd(group.eventFd());
            refuses(
                    IllegalArgumentException.class,
                    () -> grant.unlockAndLock(none, HUNG.negated()));
            fails(ErrorCode.BAD_FENCE, () -> grant.unlockAndLock(none, HUNG));
            check(!grant.isEvicted(), "the grant is gone");
            try (Grant second = grant.unlockAndLock(null, HUNG)) {
                check(second.id() > grant.id(), "the same grant again");
                fails(ErrorCode.NOT_LOCKED, () -> grant.unlockAndLock(null, HUNG));
                try (Grant third = second.unlockAndLock(null, null)) {
                    check(third.buffers().size() == 1, "not granted");
                }
            }
        }
    }

    /** Many locks in one group, each named by its number. */
    private void manyLocks() throws Exception {
        try (SyncGroup group = sync.openGroup("misuse/many");
                SyncGroup rival = sync.openGroup("misuse/rival")) {
            long a = group.add(one, Access.WRITE)[0];
            long b = group.add(other, Access.WRITE)[0];
            rival.add(one, Access.WRITE);
            check(sync.capabilities().maxLocksPerGroup() >= 3, "capabilities");
            fails(ErrorCode.UNKNOWN_BUFFER, () -> group.tryLockBuffers(Map.of(-1L, Access.READ)));
            refuses(NullPointerException.class, () -> group.lockBuffers(null, HUNG));
            fails(ErrorCode.ENDED, () -> group.lockStatus(1000));
            fails(ErrorCode.ENDED, () -> group.unlockBuffers(1000, new long[0], Map.of()));

            long first = group.lockBuffers(Map.of(a, Access.WRITE), HUNG);
            long second = group.tryLockBuffers(Map.of(b, Access.READ));
            fails(
                    ErrorCode.ALREADY_LOCKED,
                    () -> group.startLockBuffers(Map.of(a, Access.READ), HUNG));
            fails(ErrorCode.ALREADY_LOCKED, () -> group.lock(HUNG));
            check(group.locks().size() == 2 && second > first, group.locks().toString());
            check(group.acquireFence(first, 0) == null, "a fence of nobody");
            fails(ErrorCode.NOT_QUEUED, () -> group.cancelLock(first));

            long waits = rival.startLockBuffers(Map.of(a, Access.READ), null);
            check(rival.lockStatus(waits).isWaiting(), "granted to two");
            Event contended = group.pollEvent();
            check(contended.type() == Event.Type.CONTENDED, contended.toString());
            check(contended.grant() == first, "another lock");
            check(contended.deadlineNanos() == group.lockStatus(first).deadlineNanos(), "deadline");
            group.downgrade(first, a);
            while (rival.lockStatus(waits).isWaiting()) {
                Thread.sleep(5);
            }
            check(rival.lockStatus(waits).isGranted(), "not granted");
            rival.unlockBuffers(waits, new long[0], Map.of());

            Fence none = Fence.ofFd(group.eventFd());
            fails(
                    ErrorCode.BAD_FENCE,
                    () -> group.unlockBuffers(first, new long[] {a}, Map.of(0L, none)));
            refuses(IllegalStateException.class, none::detachFd);
            group.growBuffers(first, Map.of(b, Access.READ), HUNG);
            check(group.lockStatus(first).buffers().size() == 2, "not grown");
            group.unlockBuffers(first, new long[] {a}, Map.of());
            check(group.lockStatus(first).buffers().get(0).id() == b, "another part");
            long third =
                    group.unlockAndLockBuffers(first, Map.of(), Map.of(a, Access.WRITE), HUNG);
            fails(ErrorCode.ENDED, () -> group.lockStatus(first));
            check(group.locks().get(1).lock() == third, "not the newest");
            group.unlockBuffers(second, new long[0], Map.of());
            group.unlockBuffers(third, new long[0], Map.of());
            check(group.locks().isEmpty(), "still locked");
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
            ParcelFileDescriptor fd = ParcelFileDescriptor.adoptFd(one.fds()[0]);
            check(group.add(AndroidBuffers.of(fd), Access.READ).length == 1, "no buffer");
            ParcelFileDescriptor sent =
                    AndroidBuffers.toParcelFileDescriptor(Fence.ofFd(group.eventFd()));
            try (Fence received = AndroidBuffers.fence(sent)) {
                fails(ErrorCode.TIMED_OUT, () -> received.await(Duration.ZERO));
            }
        }
    }

    /** Lost groups, fences and mappings release their descriptors and memory. */
    private void forgotten() throws Exception {
        collect();
        int before = descriptors();
        for (int round = 0; round < 20; round++) {
            SyncGroup group = open(Access.READ);
            Fence.ofFd(group.eventFd());
            sync.openGroup("misuse/map").map(one, Access.READ);
        }
        check(descriptors() >= before + 20, "nothing was opened");
        for (int patience = 0; descriptors() > before; patience++) {
            check(patience < 100, "descriptors leak: " + descriptors() + " of " + before);
            collect();
        }
        try (SyncGroup group = open(Access.WRITE);
                Grant grant = group.lock(HUNG)) {
            check(grant.buffers().size() == 1, "not granted");
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
