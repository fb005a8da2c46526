//! One governed run, from view to teardown.
