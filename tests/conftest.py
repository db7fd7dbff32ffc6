import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_the_blas():
    """The peers' BLAS threads spin for a core each, and make these small problems ten times slower."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
