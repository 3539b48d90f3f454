package vendor.buffersync;
@VintfStability parcelable GroupOptions {
  int holdLimitMs = 0;
  boolean implicitFences = false;
}
