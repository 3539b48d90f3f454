/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.Objects;

/**
 * The process's connection to the service. It is made when it is first asked for; if the service dies
 * and comes back, it is made again by the next call.
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
     * Connects to the default instance. Does not wait for it to be started.
     *
     * @return the connection
     * @throws BufferSyncException {@link ErrorCode#NO_BINDER}, {@link ErrorCode#NO_SERVICE}
     */
    public static BufferSync connect() throws BufferSyncException {
        return connect(DEFAULT_DEVICE, DEFAULT_INSTANCE);
    }

    /**
     * Connects to an instance over a binder device. The first device that a process opens stays.
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
     * Opens a group, with no buffers in it.
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
     * Opens a group, with no buffers in it.
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
     * What the service can do.
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
