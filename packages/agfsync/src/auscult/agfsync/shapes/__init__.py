"""A small world to try the method in: coloured shapes, captions about them, a model that draws them and a judge."""
