"""The version that clients tell the daemon. A test holds it equal to the distribution's."""

BUILD = "0.1.0"
