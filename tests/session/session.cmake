# The six contract tests by name, with the gate on, on every backend; the plain entry session.multistage (gate unset)
# shows that each is skipped.
foreach(device cpu null cuda)
  foreach(name
      test_session_fence_stage_then_reset_then_begin_stage
      test_session_fence_event_signal_wait_round_trip
      test_session_residency_delegation_round_trip
      test_session_drop_with_open_fence_drains_synchronously
      test_session_arena_lifetime_under_fence_no_rescission
      test_session_borrowed_across_n_stages)
    add_test(NAME session.${name}.${device} COMMAND t_session_multistage ${name} ${device}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(session.${name}.${device} PROPERTIES ENVIRONMENT HF2Q_ENCODER_SESSION=1
                         SKIP_REGULAR_EXPRESSION "skipped: cuda: ")
  endforeach()
endforeach()
set_tests_properties(session.multistage PROPERTIES ENVIRONMENT_MODIFICATION HF2Q_ENCODER_SESSION=unset:)
# The gate is read once per process: the plain entry runs with it off.
add_test(NAME session.auto_barrier.on COMMAND t_session_auto_barrier WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(session.auto_barrier.on PROPERTIES ENVIRONMENT HF2Q_AUTO_BARRIER=1)
set_tests_properties(session.auto_barrier PROPERTIES ENVIRONMENT_MODIFICATION HF2Q_AUTO_BARRIER=unset:)
