"""The traces for a replay take every step of the writer, and end when it has reported."""

from tests.model.traces import WRITER_STEPS, contents, explored, replayed, step_traces


def test_the_traces_take_every_step_and_end_with_a_report() -> None:
    """What a replay relies on."""
    model = replayed()
    explorer = explored(model)
    traces = step_traces(explorer)
    assert {event.name for trace in traces for event in trace if event.actor == "W1"} == WRITER_STEPS
    for trace in traces:
        assert [e.name for e in trace if e.actor == "W1"][-1] in ("report_success", "report_failure")
    assert ["pack A", "index A", "snapshot S0"] == contents(model)["condemned X.0.0"]
