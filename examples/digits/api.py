"""The control plane's JSON API with nothing but the standard library.

Every method is `POST /controlplane.v1.<Service>/<Method>` with a JSON body, at any member.
"""

import http.client
import json
import time

# Codes after which the same call may be sent again. "aborted" says that the outcome is not
# known: sending again is safe because every submission here has a request_id.
TRANSIENT = {"unavailable", "aborted", "resource_exhausted", "deadline_exceeded"}
PAUSE_S = 0.2


class ApiError(Exception):
    """A call was refused, or no member answered in time."""

    def __init__(self, method, code, message):
        super().__init__("%s: %s: %s" % (method, code, message))
        self.code = code


class Client:
    """Calls any of the members and goes on with the next one when one does not answer."""

    def __init__(self, addresses):
        self._addresses = list(addresses)

    def call(self, method, body, patience_s=30.0):
        """Call e.g. "TaskService/ListTasks"; return the response as a dict.

        Members that do not answer or have no leader are tried in turn for `patience_s`
        seconds. Raises ApiError with the last reason.
        """
        deadline = time.monotonic() + patience_s
        while True:
            for _ in self._addresses:
                try:
                    return post(self._addresses[0], method, body)
                except ApiError as error:
                    if error.code not in TRANSIENT:
                        raise
                    last = error
                self._addresses.append(self._addresses.pop(0))
            if time.monotonic() > deadline:
                raise last
            time.sleep(PAUSE_S)


def post(address, method, body, timeout_s=10.0):
    """Call one member once. A connection that fails is an ApiError "unavailable"."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("POST", "/controlplane.v1." + method, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        status, text = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(method, "unavailable", "%s: %s" % (address, error or type(error).__name__))
    finally:
        connection.close()
    return _answer(address, method, status, text)


def _answer(address, method, status, text):
    try:
        answer = json.loads(text.decode("utf-8"))
    except ValueError:
        answer = None
    if status == 200 and isinstance(answer, dict):
        return answer
    if not isinstance(answer, dict) or "code" not in answer:
        raise ApiError(method, "unknown", "%s answered HTTP %d: %r" % (address, status, text[:200]))
    raise ApiError(method, answer["code"], "%s: %s" % (address, answer.get("message", "")))


def get(address, path, timeout_s=2.0):
    """Return (HTTP status, text) of a plain GET; status 0 and the reason if nothing answered."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error or type(error).__name__)
    finally:
        connection.close()
