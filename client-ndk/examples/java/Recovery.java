/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.time.Duration;
import java.util.List;
import vendor.buffersync.Access;
import vendor.buffersync.BufferSource;
import vendor.buffersync.BufferSync;
import vendor.buffersync.BufferSyncException;
import vendor.buffersync.ErrorCode;
import vendor.buffersync.Grant;
import vendor.buffersync.GroupOptions;
import vendor.buffersync.MappedBuffer;
import vendor.buffersync.SyncGroup;
import vendor.buffersync.Want;

/**
 * A program that goes on after an eviction, and after the service has died.
 *
 * <pre>Recovery FIRST_FD SECOND_FD</pre>
 *
 * <p>It prints 1 when it works, 2 when the service has died, and 3 when it works again.
 */
final class Recovery {
    /** Longer than any wait here. */
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final BufferSource first;
    private final BufferSource second;

    private Recovery(BufferSource first, BufferSource second) {
        this.first = first;
        this.second = second;
    }

    public static void main(String[] args) throws Exception {
        Recovery recovery =
                new Recovery(
                        BufferSource.ofRawFd(Integer.parseInt(args[0])),
                        BufferSource.ofRawFd(Integer.parseInt(args[1])));
        recovery.eviction(BufferSync.connect());
        recovery.death();
    }

    /** A holder that works too long loses its grant, and does the work again. */
    private void eviction(BufferSync sync) throws BufferSyncException, InterruptedException {
        GroupOptions brief = GroupOptions.DEFAULT.withHoldLimit(Duration.ofMillis(200));
        try (SyncGroup slow = sync.openGroup("example/slow", brief);
                SyncGroup next = sync.openGroup("example/next")) {
            MappedBuffer frame = slow.map(first, Access.WRITE).get(0);
            next.add(first, Access.WRITE);
            int evictions = 0;
            boolean done = false;
            while (!done) {
                try (Grant grant = slow.lock(PATIENCE)) {
                    if (evictions == 0) {
                        // This thread waits for itself, and the service ends that.
                        next.lock(PATIENCE).close();
                    }
                    frame.writableBytes(grant).putInt(0, 1);
                    done = true;
                } catch (BufferSyncException e) {
                    if (e.getCode() != ErrorCode.EVICTED) {
                        throw e;
                    }
                    // The work is lost. The message says who was waiting for the buffer.
                    evictions++;
                    done = false;
                }
            }
            if (evictions == 0) {
                throw new IllegalStateException("two holders of one buffer");
            }
        }
    }

    /** Works until the service dies, and goes on when it is back. */
    private void death() throws BufferSyncException, InterruptedException {
        try {
            work(BufferSync.connect(), true);
        } catch (BufferSyncException e) {
            if (e.getCode() != ErrorCode.SERVICE_DIED) {
                throw e;
            }
        }
        say(2);
        work(BufferSync.waitForService(PATIENCE), false);
        say(3);
    }

    /** Has two locks at once, one for each buffer. The groups of a service end with it, so this opens one. */
    private void work(BufferSync sync, boolean forEver)
            throws BufferSyncException, InterruptedException {
        try (SyncGroup group = sync.openGroup("example/recovery")) {
            Want one = new Want(group.add(first, Access.WRITE).get(0), Access.WRITE);
            Want other = new Want(group.add(second, Access.WRITE).get(0), Access.READ);
            boolean said = false;
            do {
                try (Grant a = group.lock(List.of(one), PATIENCE);
                        Grant b = group.lock(List.of(other), PATIENCE)) {
                    if (a.getLock() == b.getLock() || group.locks().size() != 2) {
                        throw new IllegalStateException(group.locks().toString());
                    }
                }
                if (forEver && !said) {
                    said = true;
                    say(1);
                }
            } while (forEver);
        }
    }

    private static void say(int number) {
        System.out.println(number);
        System.out.flush();
    }
}
