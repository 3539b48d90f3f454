/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Reference;
import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The process's connection to the service. If the service dies and comes back, the next call connects
 * again.
 */
public final class BufferSync {
    /** The binder device of {@link #connect()}. */
    public static final String DEFAULT_DEVICE = "/dev/binder";

    /** The instance of {@link #connect()}. */
    public static final String DEFAULT_INSTANCE = "vendor.buffersync.IBufferSync/default";

    /** How often {@link #waitForService} looks, in milliseconds. A look takes less than a thousandth of that. */
    private static final long LOOK_AGAIN_MILLIS = 50;

    private final long handle;
    private final String instance;

    private BufferSync(long handle, String instance) {
        this.handle = handle;
        this.instance = instance;
        Cleaners.register(this, () -> Native.disconnect(handle));
    }

    /**
     * Connects to the default instance. Does not wait for the service to start.
     *
     * @return the connection
     * @throws BufferSyncException {@link ErrorCode#NO_BINDER}, {@link ErrorCode#NO_SERVICE}
     */
    public static BufferSync connect() throws BufferSyncException {
        return connect(DEFAULT_DEVICE, DEFAULT_INSTANCE);
    }

    /**
     * Connects to an instance over a binder device. A process keeps the first device that it opens.
     *
     * @param device the path of the device
     * @param instance the service's name
     * @return the connection
     * @throws BufferSyncException {@link ErrorCode#NO_BINDER}, {@link ErrorCode#NO_SERVICE}
     */
    public static BufferSync connect(String device, String instance) throws BufferSyncException {
        Objects.requireNonNull(device);
        return new BufferSync(Native.connect(device, Objects.requireNonNull(instance)), instance);
    }

    /**
     * Connects to the default instance, and waits until it is there: when the system boots, and after
     * {@link ErrorCode#SERVICE_DIED}.
     *
     * @param timeout the longest time to wait; null for no time-out
     * @return the connection
     * @throws BufferSyncException {@link ErrorCode#NO_SERVICE} or {@link ErrorCode#SERVICE_DIED} if it is
     *     not there in time; {@link ErrorCode#NO_BINDER} at once
     * @throws InterruptedException if the thread is interrupted
     */
    public static BufferSync waitForService(@Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        return waitForService(DEFAULT_DEVICE, DEFAULT_INSTANCE, timeout);
    }

    /**
     * Like {@link #waitForService(Duration)}, for an instance over a binder device.
     *
     * @param device the path of the device
     * @param instance the service's name
     * @param timeout the longest time to wait; null for no time-out
     * @return the connection
     * @throws BufferSyncException as {@link #waitForService(Duration)}
     * @throws InterruptedException if the thread is interrupted
     */
    public static BufferSync waitForService(
            String device, String instance, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        long limit = SyncGroup.nanos(timeout);
        long begin = System.nanoTime();
        while (true) {
            try {
                BufferSync sync = connect(device, instance);
                // A process that was connected keeps the service that it knew, so a call has to show that
                // it lives.
                sync.getCapabilities();
                return sync;
            } catch (BufferSyncException e) {
                ErrorCode code = e.getCode();
                boolean absent = code == ErrorCode.NO_SERVICE || code == ErrorCode.SERVICE_DIED;
                if (!absent || limit >= 0 && System.nanoTime() - begin >= limit) {
                    throw e;
                }
            }
            // The service manager could call back, but a client has no binder threads.
            Thread.sleep(LOOK_AGAIN_MILLIS);
        }
    }

    /**
     * Opens a group. It has no buffers yet.
     *
     * @param name for dumps and logs: 1 to 64 bytes of UTF-8 without control characters
     * @return the group
     * @throws BufferSyncException {@link ErrorCode#INVALID_ARGUMENT} for a bad name,
     *     {@link ErrorCode#QUOTA}, {@link ErrorCode#NO_RESOURCES}
     */
    public SyncGroup openGroup(String name) throws BufferSyncException {
        return openGroup(name, GroupOptions.DEFAULT);
    }

    /**
     * Opens a group. It has no buffers yet.
     *
     * @param name for dumps and logs: 1 to 64 bytes of UTF-8 without control characters
     * @param options its options
     * @return the group
     * @throws BufferSyncException as {@link #openGroup(String)}, and {@link ErrorCode#UNSUPPORTED}
     */
    public SyncGroup openGroup(String name, GroupOptions options) throws BufferSyncException {
        Duration limit = options.getHoldLimit();
        long group =
                Native.openGroup(
                        handle,
                        Objects.requireNonNull(name),
                        limit == null ? 0 : SyncGroup.nanos(limit),
                        options.getHoldFrom() == HoldFrom.CONFLICT,
                        options.isImplicitFences());
        Reference.reachabilityFence(this);
        return new SyncGroup(group, name);
    }

    /**
     * Tells what the service can do, and its limits.
     *
     * @return its capabilities
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}
     */
    public Capabilities getCapabilities() throws BufferSyncException {
        Capabilities capabilities = new Capabilities(Native.capabilities(handle));
        Reference.reachabilityFence(this);
        return capabilities;
    }

    /**
     * The service's dump: buffers, holders, waiters, counters.
     *
     * @return text of many lines
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}
     */
    public String dump() throws BufferSyncException {
        String text = Native.dump(handle);
        Reference.reachabilityFence(this);
        return text;
    }

    @Override
    public String toString() {
        return "BufferSync[" + instance + "]";
    }
}
