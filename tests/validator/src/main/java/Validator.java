// HAPI's validator as a line server: one resource (JSON, on one line) in, one line with its findings out, in the same
// order. Whoever sends several without waiting has them validated two at a time.
// Arguments: folders with the profiles, value sets and code systems to validate against.

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.MetadataResource;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

public final class Validator {

  /** Kinds of artifacts that a profile needs; examples are not loaded. */
  private static final Set<String> KINDS =
      Set.of("StructureDefinition", "ValueSet", "CodeSystem", "OperationDefinition", "ConceptMap");

  /** The last of the answers. */
  private static final Future<String> END = new CompletableFuture<>();

  public static void main(String[] folders) throws IOException, InterruptedException {
    FhirContext context = FhirContext.forR4();
    FhirValidator validator = validator(context, artifacts(context, folders));
    System.out.println("ready");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    int cores = Math.min(2, Runtime.getRuntime().availableProcessors()); // each needs some of the heap
    ExecutorService pool = Executors.newFixedThreadPool(cores);
    BlockingQueue<Future<String>> answers = new ArrayBlockingQueue<>(8 * cores); // resources are large: no more of them
    new Thread(() -> print(answers)).start();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String resource = line;
      answers.put(pool.submit(() -> findings(validator, resource)));
    }
    answers.put(END);
    pool.shutdown();
  }

  private static void print(BlockingQueue<Future<String>> answers) {
    try {
      for (Future<String> answer = answers.take(); answer != END; answer = answers.take()) {
        System.out.println(answer.get());
        System.out.flush();
      }
    } catch (InterruptedException | ExecutionException error) {
      error.printStackTrace();
      System.exit(1); // an answer less would be taken for another resource's
    }
  }

  private static FhirValidator validator(FhirContext context, PrePopulatedValidationSupport artifacts) {
    UnknownCodeSystemWarningValidationSupport unknown = new UnknownCodeSystemWarningValidationSupport(context);
    // SNOMED CT and LOINC are not on this machine; a code is then checked by its ValueSet only.
    unknown.setNonExistentCodeSystemSeverity(
        ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity.WARNING);
    FhirInstanceValidator instance =
        new FhirInstanceValidator(
            new ValidationSupportChain(
                new BaseDefinitions(context),
                artifacts,
                new CommonCodeSystemsTerminologyService(context),
                new InMemoryTerminologyServerValidationSupport(context),
                new SnapshotGeneratingValidationSupport(context),
                unknown));
    instance.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    instance.setErrorForUnknownProfiles(true);
    return context.newValidator().registerValidatorModule(instance);
  }

  private static PrePopulatedValidationSupport artifacts(FhirContext context, String[] folders) throws IOException {
    PrePopulatedValidationSupport support = new PrePopulatedValidationSupport(context);
    for (String folder : folders) {
      try (var files = Files.list(Path.of(folder))) {
        for (Path file : files.sorted().toList()) {
          String name = file.getFileName().toString();
          if (name.endsWith(".json") && KINDS.contains(name.split("-")[0])) {
            IBaseResource resource = context.newJsonParser().parseResource(Files.readString(file));
            if (resource instanceof MetadataResource) {
              support.addResource(resource);
            }
          }
        }
      }
    }
    return support;
  }

  private static String findings(FhirValidator validator, String line) {
    try {
      List<String> errors =
          validator.validateWithResult(line).getMessages().stream()
              .filter(message -> message.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal())
              .map(message -> message.getLocationString() + ": " + message.getMessage().replace('\n', ' '))
              .collect(Collectors.toList());
      return errors.isEmpty() ? "valid" : String.join(" | ", errors);
    } catch (RuntimeException error) {
      return "cannot be read: " + String.valueOf(error.getMessage()).replace('\n', ' ');
    }
  }

  /** R4's own definitions; HAPI asks for them with the version that its other half does not know ("…|4.0.1"). */
  private static final class BaseDefinitions extends DefaultProfileValidationSupport {

    private BaseDefinitions(FhirContext context) {
      super(context);
    }

    @Override
    public IBaseResource fetchStructureDefinition(String url) {
      return super.fetchStructureDefinition(url.split("\\|")[0]);
    }
  }
}
