package vendor.buffersync;
@VintfStability parcelable OpenedGroup {
  vendor.buffersync.ISyncGroup group;
  ParcelFileDescriptor events;
  int holdLimitMs;
  long key;
}
