"""Events → text on the streams of a console."""
