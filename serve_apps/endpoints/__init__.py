"""Endpoints: what each route does. They fetch from a call what their protocol's pure module needs, and no more."""
