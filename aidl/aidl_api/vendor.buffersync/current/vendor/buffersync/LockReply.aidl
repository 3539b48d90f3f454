package vendor.buffersync;
@VintfStability parcelable LockReply {
  vendor.buffersync.LockStatus status = vendor.buffersync.LockStatus.QUEUED;
  long token;
  long deadlineNs;
  vendor.buffersync.GrantedBuffer[] buffers;
  @nullable ParcelFileDescriptor acquireFence;
}
