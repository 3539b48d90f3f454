/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.Objects;

/**
 * The process's connection to the service. If the service dies and comes back, the next call connects
 * again.
 */
public final class BufferSync {
    /** The binder device of {@link #connect()}. */
    public static final String DEFAULT_DEVICE = "/dev/binder";

    /** The instance of {@link #connect()}. */
    public static final String DEFAULT_INSTANCE = "vendor.buffersync.IBufferSync/default";

    private final long handle;

    private BufferSync(long handle) {
        this.handle = handle;
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
        return new BufferSync(
                Native.connect(Objects.requireNonNull(device), Objects.requireNonNull(instance)));
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
        long group =
                Native.openGroup(
                        handle,
                        Objects.requireNonNull(name),
                        SyncGroup.nanos(options.holdLimit),
                        options.implicitFences);
        java.lang.ref.Reference.reachabilityFence(this);
        return new SyncGroup(group);
    }

    /**
     * Tells what the service can do, and its limits.
     *
     * @return its capabilities
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}
     */
    public Capabilities capabilities() throws BufferSyncException {
        Capabilities capabilities = new Capabilities(Native.capabilities(handle));
        java.lang.ref.Reference.reachabilityFence(this);
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
        java.lang.ref.Reference.reachabilityFence(this);
        return text;
    }
}
